// The map as a coloured layer over the series in every plane, and jumping to a point of the patient.
// Uses the viewer's own rendering library, which it keeps at `window.cornerstone`.

import { gridOf, placedOn } from './nrrd.js';

const VOLUME = 'segtrust-map';
const FACTOR = 100; // the library sets windows in whole numbers, so a map of [0, 1] is drawn as [0, 100]

/** viridis by van der Walt and Smith (matplotlib): even in lightness, also without colour vision, never grey. */
export const VIRIDIS = [
  [0.267, 0.00487, 0.329], [0.282, 0.095, 0.417], [0.279, 0.175, 0.483], [0.259, 0.252, 0.525], [0.23, 0.322, 0.546],
  [0.199, 0.388, 0.555], [0.173, 0.449, 0.558], [0.149, 0.508, 0.557], [0.128, 0.567, 0.551], [0.121, 0.626, 0.533],
  [0.158, 0.684, 0.502], [0.246, 0.739, 0.452], [0.369, 0.789, 0.383], [0.516, 0.831, 0.294], [0.678, 0.864, 0.19],
  [0.846, 0.887, 0.0997], [0.993, 0.906, 0.144],
];

export function viridisGradient() {
  const stops = VIRIDIS.map(rgb => `rgb(${rgb.map(v => Math.round(v * 255)).join(' ')})`);
  return `linear-gradient(to right, ${stops.join(', ')})`;
}

/** The series that is shown: of the active viewport (under a parametric map, the one it was made for), or of the first one. */
export function shownSeries({ viewportGridService, displaySetService }) {
  const { viewports, activeViewportId } = viewportGridService.getState();
  const ordered = [viewports.get(activeViewportId), ...viewports.values()].filter(Boolean);
  const sets = ordered
    .flatMap(v => v.displaySetInstanceUIDs ?? [])
    .map(uid => displaySetService.getDisplaySetByUID(uid))
    .map(set => (set?.Modality === 'PMAP' ? set.getReferenceDisplaySet() : set));
  return sets.find(set => set?.isReconstructable && !['SEG', 'OT', 'RTSTRUCT'].includes(set.Modality)) ?? null;
}

/** Draw a map over the series; replaces the one that was drawn before. */
export async function drawMap(services, series, map, look) {
  const viewports = planesOf(series);
  if (!viewports.length) throw new Error('no view of the series can take a layer: choose the layout MPR');
  hideMap();
  const source = sourceVolume(viewports[0], series);
  const values = placedOn(map, gridOf(source), FACTOR);
  const { cache, volumeLoader, utilities } = window.cornerstone;
  utilities.colormap.registerColormap({
    Name: VOLUME,
    ColorSpace: 'RGB',
    RGBPoints: VIRIDIS.flatMap((rgb, n) => [n / (VIRIDIS.length - 1), ...rgb]),
  });
  if (cache.getVolume(VOLUME)) cache.removeVolumeLoadObject(VOLUME);
  const options = { volumeId: VOLUME, targetBuffer: { type: 'Float32Array' } };
  const volume = await volumeLoader.createAndCacheDerivedVolume(source.volumeId, options);
  volume.voxelManager.setCompleteScalarDataArray(values);
  volume.loadStatus = { loaded: true };
  for (const viewport of viewports) {
    // the largest value within the slice: opacity then is that of the slider, whatever the slice's thickness
    const blendMode = window.cornerstone.Enums.BlendModes.MAXIMUM_INTENSITY_BLEND;
    await viewport.addVolumes([{ volumeId: VOLUME, visibility: true, blendMode }], true);
  }
  setLook(look);
  volume.invalidate();
  render();
}

/** `look`: `opacity` in [0, 1], `threshold` and `top` in the map's own [0, 1]. */
export function setLook({ opacity, threshold, top }) {
  const edge = Math.min(threshold, 0.999) * FACTOR;
  const colormap = {
    name: VOLUME,
    opacity: [
      { value: 0, opacity: 0 },
      { value: edge, opacity: 0 },
      { value: edge + 0.01, opacity },
      { value: FACTOR, opacity },
    ],
  };
  for (const viewport of drawnIn()) {
    // without events: the planes share their window, and would put that of the map on the scan
    viewport.setProperties({ colormap, voiRange: { lower: 0, upper: top * FACTOR } }, VOLUME, true);
  }
  render();
}

export function hideMap() {
  for (const viewport of drawnIn()) {
    const ours = viewport.getActors().filter(({ referencedId }) => referencedId === VOLUME);
    viewport.removeVolumeActors(ours.map(({ uid }) => uid), true);
  }
}

export function isDrawn() {
  return drawnIn().length > 0;
}

/** Move every plane so that it goes through a point of the patient. */
export function jumpTo(series, position) {
  for (const viewport of planesOf(series)) {
    const { focalPoint, position: eye, viewPlaneNormal: normal } = viewport.getCamera();
    const depth = [0, 1, 2].reduce((sum, x) => sum + (position[x] - focalPoint[x]) * normal[x], 0);
    const moved = from => from.map((v, x) => v + depth * normal[x]);
    viewport.setCamera({ focalPoint: moved(focalPoint), position: moved(eye) });
    viewport.render();
  }
}

function allViewports() {
  return window.cornerstone.getRenderingEngines().flatMap(engine => engine.getViewports());
}

function planesOf(series) {
  return allViewports().filter(viewport => viewport.type === 'orthographic' && sourceVolume(viewport, series));
}

function sourceVolume(viewport, series) {
  const volumes = viewport.getAllVolumeIds().map(id => window.cornerstone.cache.getVolume(id));
  return volumes.find(volume => volume?.volumeId.includes(series.displaySetInstanceUID));
}

function drawnIn() {
  return allViewports().filter(viewport => viewport.getAllVolumeIds?.().includes(VOLUME));
}

function render() {
  drawnIn().forEach(viewport => viewport.render());
}
