// The segmentation on the screen as a label for the datastore.

import { gridOf, writeNrrd } from './nrrd.js';

/**
 * The label that is shown over `series`: `{file, segments: [{name, idx}], voxels: {name: count}}`.
 * Throws, in words for the reader, if there is none or if it is no segmentation of `structures`.
 */
export function shownLabel({ segmentationService }, series, structures) {
  const found = segmentationService
    .getSegmentations()
    .map(segmentation => ({ segmentation, volume: segmentationService.getLabelmapVolume(segmentation.segmentationId) }))
    .find(({ volume }) => volume && series.imageIds.includes(sourceImage(volume)));
  if (!found) {
    throw new Error('there is no segmentation of this scan yet. Run a model in the tab MONAI Label first.');
  }
  const { segmentation, volume } = found;
  const values = Uint8Array.from(volume.voxelManager.getCompleteScalarDataArray());
  const counts = new Map();
  values.forEach(value => value && counts.set(value, (counts.get(value) ?? 0) + 1));
  const segments = Object.entries(segmentation.segments)
    .map(([index, segment]) => ({ name: segment.label, idx: Number(index) }))
    .filter(({ idx }) => counts.has(idx));
  const strange = segments.map(({ name }) => name).filter(name => !structures.includes(name));
  if (strange.length) {
    throw new Error(`only structures can be saved, but the segmentation shows: ${strange.join(', ')}. Run the model of the structures again.`);
  }
  return {
    file: writeNrrd(gridOf(volume), values),
    segments,
    voxels: Object.fromEntries(segments.map(({ name, idx }) => [name, counts.get(idx)])),
  };
}

/** The slice of a series that the first slice of a segmentation was made for. */
function sourceImage(volume) {
  return window.cornerstone.cache.getImage(volume.imageIds[0])?.referencedImageId;
}
