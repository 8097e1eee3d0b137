// NRRD volumes, and moving voxels between grids by where they lie in the patient (millimetres, DICOM's axes).

/** A grid is `{dimensions: [i, j, k], steps: [[x,y,z], ...], origin: [x,y,z]}`; the first axis is fastest. */

export async function readNrrd(buffer) {
  const bytes = new Uint8Array(buffer);
  const end = headerEnd(bytes);
  const lines = new TextDecoder().decode(bytes.subarray(0, end)).split(/\r?\n/);
  const fields = Object.fromEntries(lines.filter(l => /^[^#].*: /.test(l)).map(l => l.split(/: (.*)/).slice(0, 2)));
  if (fields.type !== 'float' || fields.space !== 'left-posterior-superior' || fields.endian === 'big') {
    throw new Error(`the map must be little-endian float NRRD in left-posterior-superior, got ${fields.type} in ${fields.space}`);
  }
  const body = bytes.subarray(end);
  return {
    dimensions: fields.sizes.split(' ').map(Number),
    steps: vectors(fields['space directions']),
    origin: vectors(fields['space origin'])[0],
    values: new Float32Array(fields.encoding === 'raw' ? body.slice().buffer : await inflated(body)),
  };
}

/** An uint8 volume as an uncompressed NRRD file. */
export function writeNrrd(grid, values) {
  const vector = v => `(${v.join(',')})`;
  const header = [
    'NRRD0004',
    'type: uint8',
    'dimension: 3',
    'space: left-posterior-superior',
    `sizes: ${grid.dimensions.join(' ')}`,
    `space directions: ${grid.steps.map(vector).join(' ')}`,
    'kinds: domain domain domain',
    'encoding: raw',
    `space origin: ${vector(grid.origin)}`,
  ];
  return new Blob([`${header.join('\n')}\n\n`, values], { type: 'application/octet-stream' });
}

/** Grid of a volume of the viewer. */
export function gridOf(volume) {
  const d = volume.direction;
  return {
    dimensions: [...volume.dimensions],
    steps: [0, 1, 2].map(axis => [0, 1, 2].map(x => d[3 * axis + x] * volume.spacing[axis])),
    origin: [...volume.origin],
  };
}

/**
 * Values of `map` (with its grid) at every voxel of `grid`, nearest neighbour, times `factor`.
 * Throws if the two do not cover the same box: a map must never lie over another scan.
 */
export function placedOn(map, grid, factor) {
  const inverse = inverted(map.steps);
  const indexOf = ijk => {
    const world = [0, 1, 2].map(x => grid.origin[x] - map.origin[x] + dot(ijk, grid.steps.map(s => s[x])));
    return [0, 1, 2].map(axis => dot(inverse[axis], world));
  };
  const [ni, nj, nk] = grid.dimensions;
  const [mi, mj, mk] = map.dimensions;
  const corners = [0, 1, 2, 3, 4, 5, 6, 7].map(c => grid.dimensions.map((n, axis) => ((c >> axis) & 1) * (n - 1)));
  const inside = p => p.every((v, axis) => v > -0.5 && v < map.dimensions[axis] - 0.5);
  if (ni * nj * nk !== mi * mj * mk || !corners.map(indexOf).every(inside)) {
    throw new Error('the map does not lie on the grid of the series that is shown');
  }
  const base = indexOf([0, 0, 0]);
  const delta = [[1, 0, 0], [0, 1, 0], [0, 0, 1]].map(unit => indexOf(unit).map((v, axis) => v - base[axis]));
  const at = (ijk, axis) => Math.round(base[axis] + ijk[0] * delta[0][axis] + ijk[1] * delta[1][axis] + ijk[2] * delta[2][axis]);
  const values = new Float32Array(ni * nj * nk);
  let target = 0;
  for (let k = 0; k < nk; k++) {
    for (let j = 0; j < nj; j++) {
      for (let i = 0; i < ni; i++) {
        const ijk = [i, j, k];
        values[target++] = map.values[at(ijk, 0) + mi * (at(ijk, 1) + mj * at(ijk, 2))] * factor;
      }
    }
  }
  return values;
}

function headerEnd(bytes) {
  for (let i = 1; i < bytes.length; i++) {
    if (bytes[i] === 10 && (bytes[i - 1] === 10 || (bytes[i - 1] === 13 && bytes[i - 2] === 10))) return i + 1;
  }
  throw new Error('the map is no NRRD file: its header has no end');
}

function vectors(text) {
  return [...text.matchAll(/\(([^)]*)\)/g)].map(match => match[1].split(',').map(Number));
}

function inflated(bytes) {
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream('gzip'))).arrayBuffer();
}

function dot(a, b) {
  return a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
}

function cross(a, b) {
  return [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]];
}

/** Rows of the inverse of the matrix whose columns are the three steps. */
function inverted([a, b, c]) {
  const determinant = dot(a, cross(b, c));
  return [cross(b, c), cross(c, a), cross(a, b)].map(row => row.map(v => v / determinant));
}
