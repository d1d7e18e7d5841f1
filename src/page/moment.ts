import type { MemoryReport } from './memory/memory-report.ts';

/** Some text that was read, and how long the model remembered while it read it. */
export interface Moment {
  readonly report: MemoryReport;
  /** The text; empty for a prompt. */
  readonly text: string;
  /** Keys of the text's tokens, which their elements have as `data-token`; none for a prompt. */
  readonly tokens: readonly string[];
}

/** The caption of a moment. */
export function momentLabel({ tokens, text }: Moment): string {
  if (tokens.length === 0) return 'Reading the prompt';
  const shown = text.replaceAll('\n', '⏎').replaceAll('\t', '⇥').replaceAll(' ', '␣');
  return `Reading “${shown.length > 24 ? `${shown.slice(0, 23)}…` : shown}”`;
}

/** The most numbers that a history holds: 32 MB. */
const MAX_VALUES = 8 * 2 ** 20;

/** Moments in their order. With a long text and a large model the oldest are dropped. */
export class MomentHistory {
  #moments: Moment[] = [];
  #values = 0;
  readonly #maxValues: number;

  constructor(maxValues = MAX_VALUES) {
    this.#maxValues = maxValues;
  }

  get moments(): readonly Moment[] {
    return this.#moments;
  }

  /** @returns the moments that it drops */
  add(moment: Moment): readonly Moment[] {
    this.#moments.push(moment);
    this.#values += moment.report.values.length;
    let dropped = 0;
    while (this.#values > this.#maxValues && dropped < this.#moments.length - 1) {
      this.#values -= this.#moments[dropped++].report.values.length;
    }
    return dropped === 0 ? [] : this.#moments.splice(0, dropped);
  }

  clear(): void {
    this.#moments = [];
    this.#values = 0;
  }
}
