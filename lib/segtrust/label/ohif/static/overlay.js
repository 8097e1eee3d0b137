// The map as a coloured layer over the series in every plane, and jumping to a point of the patient.
// Uses the viewer's own rendering library, which it keeps at `window.cornerstone`.

import { gridOf, placedOn } from './nrrd.js';

const VOLUME = 'segtrust-map';
const FACTOR = 100; // the library sets windows in whole numbers, so a map of [0, 1] is drawn as [0, 100]

/** cividis by Nunez, Anderton and Renslow (matplotlib): even in lightness, also without colour vision. */
export const CIVIDIS = [
  [0.0, 0.135, 0.305], [0.0, 0.179, 0.415], [0.103, 0.22, 0.436], [0.195, 0.264, 0.426], [0.264, 0.308, 0.423],
  [0.324, 0.351, 0.426], [0.381, 0.395, 0.436], [0.435, 0.44, 0.451], [0.489, 0.485, 0.471], [0.548, 0.532, 0.472],
  [0.609, 0.58, 0.464], [0.672, 0.629, 0.448], [0.736, 0.681, 0.424], [0.803, 0.734, 0.39], [0.871, 0.79, 0.343],
  [0.941, 0.848, 0.276], [0.996, 0.909, 0.218],
];

export function cividisGradient() {
  const stops = CIVIDIS.map(rgb => `rgb(${rgb.map(v => Math.round(v * 255)).join(' ')})`);
  return `linear-gradient(to right, ${stops.join(', ')})`;
}

/** The series that is shown: of the active viewport, or of the first one if a map or segmentation is active there. */
export function shownSeries({ viewportGridService, displaySetService }) {
  const { viewports, activeViewportId } = viewportGridService.getState();
  const ordered = [viewports.get(activeViewportId), ...viewports.values()].filter(Boolean);
  const sets = ordered.flatMap(v => v.displaySetInstanceUIDs ?? []).map(uid => displaySetService.getDisplaySetByUID(uid));
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
    RGBPoints: CIVIDIS.flatMap((rgb, n) => [n / (CIVIDIS.length - 1), ...rgb]),
  });
  if (cache.getVolume(VOLUME)) cache.removeVolumeLoadObject(VOLUME);
  const options = { volumeId: VOLUME, targetBuffer: { type: 'Float32Array' } };
  const volume = await volumeLoader.createAndCacheDerivedVolume(source.volumeId, options);
  volume.voxelManager.setCompleteScalarDataArray(values);
  volume.loadStatus = { loaded: true };
  for (const viewport of viewports) {
    await viewport.addVolumes([{ volumeId: VOLUME, visibility: true }], true);
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
    viewport.setProperties({ colormap, voiRange: { lower: 0, upper: top * FACTOR } }, VOLUME);
  }
  render();
}

export function hideMap() {
  for (const viewport of drawnIn()) {
    viewport.removeVolumeActors([VOLUME], true);
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
