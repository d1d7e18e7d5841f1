import { byId, element } from '../element.ts';
import { type Moment, MomentHistory, momentLabel } from '../moment.ts';
import { MemoryHistogram } from './memory-histogram.ts';
import { type Cell, MemoryMap } from './memory-map.ts';
import { averageReport, layerSummaries, longestHead, type MemoryReport, summary } from './memory-report.ts';
import { tokensInWords } from './scale.ts';

/** Number of reports that the live picture averages, because single tokens differ much. */
const LIVE_REPORTS = 8;
/** The media query with which the style puts the picture above the conversation. */
const NARROW = '(max-width: 52rem)';
/** Milliseconds between two updates of the texts for screen readers. */
const TABLE_PAUSE = 400;

/** The picture of the model's memory, with a summary in words and numbers. */
export class MemoryPanel {
  /** Called with the moment that is shown; undefined: the latest ones. */
  onMoment: (moment: Moment | undefined) => void = () => {};
  readonly #root = byId('memory', HTMLElement);
  readonly #title = byId('memory-title', HTMLElement);
  readonly #words = byId('memory-words', HTMLElement);
  readonly #cell = byId('memory-cell', HTMLOutputElement);
  readonly #slider = byId('memory-moment', HTMLInputElement);
  readonly #table = byId('memory-table', HTMLTableSectionElement);
  readonly #details = byId('memory-numbers', HTMLDetailsElement);
  readonly #canvas = byId('memory-map', HTMLCanvasElement);
  readonly #map = new MemoryMap(this.#canvas);
  readonly #toggle = byId('memory-toggle', HTMLButtonElement);
  readonly #histogram = new MemoryHistogram(byId('memory-histogram', HTMLCanvasElement));
  /** Reports of the current or last answer. */
  readonly #history = new MomentHistory();
  /** The moment that the reader chose; stays until the reader chooses another, or none. */
  #chosen: Moment | undefined;
  /** The moment that the reader points at. */
  #pointed: Moment | undefined;
  #report: MemoryReport | undefined;
  #looked: Cell | undefined;
  #tableTimer: ReturnType<typeof setTimeout> | undefined;

  constructor() {
    this.#map.onLook = (cell) => {
      this.#looked = cell;
      this.#describeCell();
    };
    this.#slider.addEventListener('input', () => this.choose(this.#history.moments[this.#slider.valueAsNumber]));
    this.#details.addEventListener('toggle', () => this.#fillTable());
    this.#toggle.addEventListener('click', () => this.#fold(!this.#isFolded));
    // On a narrow page the picture is above the conversation, which needs the space more.
    this.#fold(matchMedia(NARROW).matches);
  }

  /** An answer begins. */
  begin(): void {
    this.#history.clear();
    this.choose(undefined);
  }

  /** Adds a moment; `update` shows it. */
  add(moment: Moment): void {
    this.#history.add(moment);
  }

  update(): void {
    this.#slider.max = `${this.#history.moments.length}`;
    if (!this.#chosen && !this.#pointed) this.#showLive();
  }

  /** Shows a moment while the reader points at it. */
  preview(moment: Moment | undefined): void {
    this.#pointed = moment;
    const shown = moment ?? this.#chosen;
    if (shown) this.#show(shown.report, momentLabel(shown));
    else this.#showLive();
    this.onMoment(shown);
  }

  /** Shows a moment until another is chosen; undefined: the latest ones again. */
  choose(moment: Moment | undefined): void {
    this.#chosen = moment;
    const { moments } = this.#history;
    const at = moment ? moments.indexOf(moment) : -1;
    this.#slider.max = `${moments.length}`;
    this.#slider.value = `${at < 0 ? moments.length : at}`;
    this.preview(undefined);
  }

  get chosen(): Moment | undefined {
    return this.#chosen;
  }

  get #isFolded(): boolean {
    return this.#root.dataset.folded === 'true';
  }

  /** Folds or unfolds the picture. Only narrow pages do: see the style. */
  #fold(isFolded: boolean): void {
    this.#root.dataset.folded = `${isFolded}`;
    this.#toggle.setAttribute('aria-expanded', `${!isFolded}`);
    this.#toggle.textContent = isFolded ? 'Show' : 'Hide';
  }

  #showLive(): void {
    const last = this.#history.moments.slice(-LIVE_REPORTS);
    this.#slider.value = this.#slider.max;
    // The prompt's report covers many tokens, and would outweigh the first few of the answer.
    const alike = last.length > 1 && last[0].tokens.length === 0 ? last.slice(1) : last;
    const report = averageReport(alike.map((moment) => moment.report));
    if (!report) return;
    const isPrompt = alike.length === 1 && alike[0].tokens.length === 0;
    this.#show(report, isPrompt ? 'Reading the prompt' : 'Reading the last few tokens');
  }

  #show(report: MemoryReport, title: string): void {
    this.#report = report;
    this.#root.dataset.state = 'shown';
    this.#canvas.style.setProperty('--layers', `${report.layers}`);
    this.#map.show(report);
    this.#histogram.show(report);
    this.#title.textContent = title;
    const { shortest, median, longest } = summary(report.values);
    const { layer, head } = longestHead(report);
    this.#words.textContent =
      `Half of the heads lose half of their state within ${tokensInWords(median)}, the fastest within ${tokensInWords(shortest)}. ` +
      `The slowest keeps half for ${tokensInWords(longest)}: layer ${layer + 1}, head ${head + 1}.`;
    this.#describeCell();
    byId('memory-last-layer', HTMLElement).textContent = `${report.layers}`;
    byId('memory-last-head', HTMLElement).textContent = `${report.heads}`;
    this.#tableTimer ??= setTimeout(() => this.#fillTable(), TABLE_PAUSE);
  }

  #describeCell(): void {
    const value =
      this.#report && this.#looked && this.#report.values[this.#looked.layer * this.#report.heads + this.#looked.head];
    this.#cell.value =
      value === undefined || this.#looked === undefined
        ? ''
        : `Layer ${this.#looked.layer + 1}, head ${this.#looked.head + 1}: ${tokensInWords(value)}`;
  }

  #fillTable(): void {
    clearTimeout(this.#tableTimer);
    this.#tableTimer = undefined;
    if (!this.#report) return;
    const { shortest, median, longest } = summary(this.#report.values);
    this.#canvas.setAttribute(
      'aria-label',
      `Half-lives of ${this.#report.layers} layers with ${this.#report.heads} heads each: from ${tokensInWords(shortest)} to ${tokensInWords(longest)}, median ${tokensInWords(median)}. Arrow keys move from head to head.`,
    );
    if (!this.#details.open) return;
    const rows = layerSummaries(this.#report).map((layer, i) => {
      const cells = [layer.shortest, layer.median, layer.longest].map((value) => element('td', {}, shortNumber(value)));
      return element('tr', {}, element('th', { scope: 'row' }, `${i + 1}`), ...cells);
    });
    this.#table.replaceChildren(...rows);
  }
}

function shortNumber(value: number): string {
  return value === Number.POSITIVE_INFINITY ? '∞' : Number(value.toPrecision(value < 10 ? 2 : 3)).toLocaleString('en');
}
