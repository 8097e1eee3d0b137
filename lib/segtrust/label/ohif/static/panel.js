// The panel `Uncertainty`: where not to trust the mask of the scan that is shown.

import { viridisGradient, drawMap, hideMap, isDrawn, jumpTo, setLook, shownSeries } from './overlay.js';
import { shownLabel } from './label.js';
import { readNrrd } from './nrrd.js';
import { connect } from './server.js';

const PAGE = `
  <section class="segtrust" aria-label="Uncertainty">
    <p class="scan" data-part="scan"></p>
    <label>Model <select data-part="model"></select></label>
    <label>Measure <select data-part="measure" aria-describedby="segtrust-meaning"></select></label>
    <p id="segtrust-meaning" class="quiet" data-part="meaning"></p>
    <div class="buttons">
      <button type="button" class="main" data-part="show">Show uncertainty</button>
      <button type="button" data-part="hide" disabled>Hide map</button>
    </div>
    <p class="status" role="status" data-part="status"></p>
    <figure>
      <div class="bar" role="img" data-part="bar"><span class="cut" data-part="cut"></span></div>
      <div class="ticks" aria-hidden="true" data-part="ticks"></div>
      <figcaption data-part="caption"></figcaption>
    </figure>
    <div class="slider">
      <label for="segtrust-opacity">Opacity</label><output for="segtrust-opacity" data-part="opacityText"></output>
      <input type="range" id="segtrust-opacity" min="0" max="100" step="5" data-part="opacity">
      <label for="segtrust-threshold">Hide below</label><output for="segtrust-threshold" data-part="thresholdText"></output>
      <input type="range" id="segtrust-threshold" min="0" max="100" step="1" data-part="threshold">
    </div>
    <div class="notices" data-part="notices"></div>
    <div data-part="findings" hidden>
      <div class="flags" data-part="flagsBox"><h3>Look closer</h3><ul data-part="flags"></ul></div>
      <h3>Structures</h3>
      <table>
        <thead>
          <tr><th scope="col">Volume</th><th scope="col">Border</th><th scope="col">Dice</th><th scope="col">Verdict</th></tr>
        </thead>
        <tbody data-part="structures"></tbody>
      </table>
      <p class="quiet" data-part="quality"></p>
      <h3>Most uncertain slices</h3>
      <ol data-part="slices"></ol>
    </div>
    <h3>Label</h3>
    <p class="quiet">Saves the segmentation on the screen as the final label of this scan.</p>
    <button type="button" data-part="save">Save label</button>
    <p class="status" role="status" data-part="saved"></p>
  </section>`;

const ABSENT = 'not available for this model';

// outlives the panel, which the viewer builds anew each time its tab is opened
const session = {
  known: null,
  model: '',
  measure: '',
  opacity: 60,
  thresholds: {},
  wanted: false, // whether the reader wants to see the map
  series: null, // that the findings belong to
  findings: null,
};

/** Fill `node`; returns what takes the panel away again. */
export function mountPanel(node, { services, server }) {
  loadStyle();
  node.innerHTML = PAGE;
  const part = Object.fromEntries([...node.querySelectorAll('[data-part]')].map(e => [e.dataset.part, e]));
  const api = connect(server, services.userAuthenticationService);
  const model = () => session.known.models.find(({ name }) => name === session.model);
  const measure = () => model().measures.find(({ name }) => name === session.measure);
  const threshold = () => session.thresholds[session.measure] ?? measure().top / 10;
  const look = () => ({ opacity: session.opacity / 100, threshold: threshold(), top: measure().top });

  let latest = 0; // number of the last request for a map: an answer to an earlier one is not drawn

  async function start() {
    session.known ??= await api.models();
    const { models, notices } = session.known;
    session.model ||= models[0].name;
    part.model.replaceChildren(...models.map(({ name }) => new Option(name, name, false, name === session.model)));
    part.notices.replaceChildren(...notices.map(text => made('p', text)));
    listMeasures();
    followScan();
    part.show.onclick = () => told(part.status, show);
    part.hide.onclick = () => {
      latest += 1;
      session.wanted = false;
      hideMap();
      followScan();
    };
    part.save.onclick = () => told(part.saved, save);
    part.model.onchange = () => {
      session.model = part.model.value;
      listMeasures();
      forget();
    };
    part.measure.onchange = () => {
      session.measure = part.measure.value;
      showScale();
      if (session.wanted) told(part.status, show);
    };
    part.opacity.oninput = () => {
      session.opacity = Number(part.opacity.value);
      showLook();
    };
    part.threshold.oninput = () => {
      session.thresholds[session.measure] = (Number(part.threshold.value) / 100) * measure().top;
      showLook();
    };
  }

  function listMeasures() {
    const { measures } = model();
    if (!measures.some(({ name }) => name === session.measure)) session.measure = measures[0].name;
    part.measure.replaceChildren(
      ...measures.map(({ name, title }) => new Option(title, name, false, name === session.measure))
    );
    showScale();
  }

  function showScale() {
    const { title, meaning, unit, scale, top } = measure();
    const percent = unit === '%';
    part.meaning.textContent = meaning;
    part.caption.textContent = percent ? `${title} (%)` : `${title} (${unit})`;
    part.bar.style.backgroundImage = viridisGradient();
    part.bar.setAttribute('aria-label', `Colours from dark violet, 0, to yellow, ${number(top * scale)}${percent ? ' %' : ''} and more`);
    const ticks = [0, 0.2, 0.4, 0.6, 0.8, 1].map(share => number(share * top * scale));
    part.ticks.replaceChildren(...ticks.map((text, n) => made('span', n === 5 && top < 1 ? `≥ ${text}` : text)));
    showLook();
  }

  function showLook() {
    const { scale, unit, top } = measure();
    part.opacity.value = session.opacity;
    part.opacityText.textContent = `${session.opacity} %`;
    part.threshold.value = Math.round((threshold() / top) * 100);
    part.thresholdText.textContent = `${number(threshold() * scale)}${unit === '%' ? ' %' : ''}`;
    part.opacity.setAttribute('aria-valuetext', part.opacityText.textContent);
    part.threshold.setAttribute('aria-valuetext', part.thresholdText.textContent);
    part.cut.style.width = `${(threshold() / top) * 100}%`;
    setLook(look());
  }

  async function show() {
    const series = shownSeries(services);
    if (!series) throw new Error('open a series of slices first.');
    const image = series.SeriesInstanceUID;
    const mine = ++latest;
    const { model: name, measure: wanted } = session;
    part.status.textContent = 'Computing …';
    session.wanted = true;
    const numbers = session.series === image && session.findings ? session.findings : await api.findings(name, image);
    const map = await readNrrd(await api.map(name, image, wanted));
    if (mine !== latest) return part.status.textContent;
    if (shownSeries(services)?.SeriesInstanceUID !== image) throw new Error('another scan was opened meanwhile. Try again.');
    Object.assign(session, { findings: numbers, series: image });
    await drawMap(services, series, map, look());
    followScan();
    return 'The map is shown over the scan.';
  }

  async function save() {
    const series = shownSeries(services);
    if (!series) throw new Error('open a series of slices first.');
    const structures = session.known.models.flatMap(entry => Object.keys(entry.structures));
    const { file, segments, voxels } = shownLabel(services, series, structures);
    if (!segments.length && !window.confirm('The segmentation is empty. Save that there is nothing in this scan?')) {
      return 'Not saved.';
    }
    part.saved.textContent = 'Saving …';
    await api.saveLabel(series.SeriesInstanceUID, file, segments);
    const counts = Object.entries(voxels).map(([name, count]) => `${name} ${count} voxels`);
    return `Saved as final label: ${counts.join(', ') || 'empty'}.`;
  }

  /** What is said belongs to the scan on the screen, or is not said. */
  function followScan() {
    const series = shownSeries(services);
    part.scan.textContent = series ? [series.SeriesDescription, dateText(series.SeriesDate)].filter(Boolean).join(', ') : 'No scan is open.';
    if (session.findings && series?.SeriesInstanceUID !== session.series) {
      forget();
      return;
    }
    part.hide.disabled = !isDrawn();
    part.findings.hidden = !session.findings;
    if (session.findings) showFindings(series);
  }

  function forget() {
    latest += 1;
    session.wanted = false;
    session.findings = null;
    hideMap();
    part.status.textContent = '';
    part.saved.textContent = '';
    followScan();
  }

  function showFindings(series) {
    const { flags, structures, slices, quality } = session.findings;
    part.quality.textContent = qualityText(session.findings);
    part.flagsBox.hidden = !flags.length;
    part.flags.replaceChildren(...flags.map(({ text }) => made('li', text)));
    part.structures.replaceChildren(...structures.flatMap(structure => structureRows(structure, quality)));
    part.slices.replaceChildren(
      ...slices.map(({ structure, reason, position }) => {
        const button = made('button', structure);
        button.type = 'button';
        button.append(made('small', reason));
        button.onclick = () => jumpTo(series, position);
        const item = document.createElement('li');
        item.append(button);
        return item;
      })
    );
  }

  const subscriptions = ['GRID_STATE_CHANGED', 'ACTIVE_VIEWPORT_ID_CHANGED']
    .map(name => services.viewportGridService.EVENTS[name])
    .map(event => services.viewportGridService.subscribe(event, () => session.known && followScan()));
  told(part.status, start);
  return () => subscriptions.forEach(({ unsubscribe }) => unsubscribe());
}

/** What the verdicts and intervals mean, and how like the calibration scans this one is; empty if not known. */
function qualityText({ quality, out_of_distribution: unlike }) {
  const parts = [];
  if (quality?.statement) parts.push(quality.statement);
  if (unlike) parts.push(unlike.sentence);
  if (quality?.intervals_statement) parts.push(quality.intervals_statement);
  if (quality?.confident_statement) parts.push(quality.confident_statement);
  return parts.join(' ');
}

function structureRows(structure, quality) {
  const words = quality?.intervals === 'widest' ? 'widest' : `${quality?.coverage * 100} %`;
  const surer = structure.confident_intervals ?? {};
  const interval = (ends, title) => rangeText(words, ends, title);
  const addSurer = (to, ends) => ends && to.append(rangeText('confident', ends));
  const { name, empty, volume_ml, volume_range_ml, volume_interval_ml } = structure;
  const { border_mm, border_interval_mm, predicted_dice, predicted_dice_interval, verdict } = structure;
  const head = made('th', name);
  head.scope = 'rowgroup';
  head.colSpan = 4;
  const volume = cell(volume_ml, value => `${number(value)} ml`);
  if (volume_interval_ml) volume.append(interval(volume_interval_ml));
  else {
    const range = absentOr('small', volume_range_ml, ([low, high]) => `${number(low)} to ${number(high)}`);
    range.prepend('range ');
    volume.append(range);
  }
  addSurer(volume, surer.volume_interval_ml);
  const border = cell(border_mm, value => `± ${number(value)} mm`);
  if (border_interval_mm) border.append(interval(border_interval_mm, 'mean distance of predicted and true border, mm'));
  addSurer(border, surer.border_interval_mm);
  const dice = cell(predicted_dice, number);
  if (predicted_dice_interval) dice.append(interval(predicted_dice_interval));
  addSurer(dice, surer.predicted_dice_interval);
  const judged = cell(empty ? 'not found' : verdict, text => text);
  if (judged.textContent !== 'probably fine' && !judged.title) judged.className = 'look';
  return [row(head), row(volume, border, dice, judged)];
}

/** An interval, its ends rounded outwards, so that it holds all that it stands for; null = no upper end. */
function rangeText(words, [low, high], title = '') {
  const ends = high === null ? `at least ${rounded(low, Math.floor)}` : `${rounded(low, Math.floor)} to ${rounded(high, Math.ceil)}`;
  const text = made('small', `${words}: ${ends}`);
  text.title = title;
  return text;
}

function cell(given, text) {
  return absentOr('td', given, text);
}

/** An element that says `given`, or a dash with its reason where it is absent. */
function absentOr(tag, given, text) {
  const absent = given === undefined || given === null;
  const element = made(tag, absent ? '–' : text(given));
  if (absent) element.title = ABSENT;
  return element;
}

async function told(place, action) {
  place.classList.remove('failed');
  try {
    place.textContent = (await action()) ?? '';
  } catch (error) {
    place.classList.add('failed');
    place.textContent = `Not done: ${error.message}`;
  }
}

function made(tag, text) {
  const element = document.createElement(tag);
  element.textContent = text;
  return element;
}

function row(...cells) {
  const element = document.createElement('tr');
  element.append(...cells);
  return element;
}

function number(value) {
  return String(Number(value.toPrecision(3)));
}

/** Three digits, rounded by `towards` unless three digits say it exactly. */
function rounded(value, towards) {
  if (!value || Number(value.toPrecision(3)) === value) return number(value);
  const step = 10 ** (Math.floor(Math.log10(Math.abs(value))) - 2);
  return number(towards(value / step) * step);
}

function dateText(dicom) {
  return /^\d{8}$/.test(dicom ?? '') ? `${dicom.slice(0, 4)}-${dicom.slice(4, 6)}-${dicom.slice(6)}` : '';
}

function loadStyle() {
  if (document.getElementById('segtrust-style')) return;
  const link = document.createElement('link');
  link.id = 'segtrust-style';
  link.rel = 'stylesheet';
  link.href = new URL('panel.css', import.meta.url);
  document.head.append(link);
}
