import type { MemoryReport } from './memory-report.ts';

/** Some text that was read, and how long the model remembered while it read it. */
export interface Moment {
  readonly report: MemoryReport;
  /** The text's elements; none for a prompt. */
  readonly tokens: readonly HTMLElement[];
}

/** What a moment is called. */
export function momentLabel({ tokens }: Moment): string {
  if (tokens.length === 0) return 'Reading the prompt';
  const text = tokens.map(({ textContent }) => textContent).join('');
  const shown = text.replaceAll('\n', '⏎').replaceAll('\t', '⇥').replaceAll(' ', '␣');
  return `Reading “${shown.length > 24 ? `${shown.slice(0, 23)}…` : shown}”`;
}
