import { formatTable } from '../terminal/table.ts';
import { bitsPerByte, perplexity, type TextScore } from './text-score.ts';

/** Measure of how well a model in one dtype predicts some files. */
export interface Evaluation {
  readonly dtype: string;
  readonly files: readonly { readonly file: string; readonly score: TextScore }[];
  /** Over all files. */
  readonly total: TextScore;
  readonly seconds: number;
}

/** The evaluations with all that follows from them, for programs. A file without tokens has no bits per byte: NaN. */
export function withMeasures(evaluations: readonly Evaluation[]) {
  return evaluations.map(({ dtype, files, total, seconds }) => ({
    dtype,
    files: files.map(({ file, score }) => ({ file, ...measures(score) })),
    total: measures(total),
    /** Bits relative to those of the first dtype, less 1. */
    loss: loss(total, evaluations),
    seconds,
    tokensPerSecond: total.tokens / seconds,
  }));
}

/** The evaluations as a table: one dtype's files, or a comparison of several dtypes. */
export function describeEvaluation(evaluations: readonly Evaluation[]): string {
  const [first] = evaluations;
  return evaluations.length === 1 ? describeFiles(first) : describeDTypes(evaluations);
}

function describeFiles({ files, total, seconds }: Evaluation): string {
  const rows = [...files, ...(files.length > 1 ? [{ file: 'total', score: total }] : [])];
  return [
    formatTable([['file', ...HEADINGS], ...rows.map(({ file, score }) => [file, ...columns(score)])]),
    `${(total.tokens / seconds).toFixed(1)} tokens/s`,
  ].join('\n');
}

function describeDTypes(evaluations: readonly Evaluation[]): string {
  const rows = evaluations.map(({ dtype, total, seconds }) => [
    dtype,
    ...columns(total),
    percent(loss(total, evaluations)),
    (total.tokens / seconds).toFixed(1),
  ]);
  return formatTable([['dtype', ...HEADINGS, 'loss', 'tokens/s'], ...rows]);
}

const HEADINGS = ['tokens', 'bytes', 'bits per byte', 'perplexity'];

function columns(score: TextScore): string[] {
  return [`${score.tokens}`, `${score.bytes}`, bitsPerByte(score).toFixed(4), perplexity(score).toFixed(3)];
}

function measures(score: TextScore) {
  return { ...score, bitsPerByte: bitsPerByte(score), perplexity: perplexity(score) };
}

function loss(total: TextScore, [first]: readonly Evaluation[]): number {
  return total.bits / first.total.bits - 1;
}

function percent(value: number): string {
  return `${value < 0 ? '' : '+'}${(100 * value).toFixed(2)}%`;
}
