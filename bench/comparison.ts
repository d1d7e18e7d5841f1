import type { ModelShape } from '../src/bench/model-shapes.ts';
import { type Spread, spreadOf } from '../src/bench/spread.ts';
import { formatTable } from '../src/cli/terminal/table.ts';
import type { OurRun } from './ours.ts';
import type { Peer } from './peer.ts';
import type { DType, Rates } from './workload.ts';

/** One round of one shape in one dtype. */
export interface Round {
  readonly shape: ModelShape;
  readonly dtype: DType;
  readonly ours: OurRun;
  readonly theirs: Rates;
}

/** Tokens per second of one work of one shape in one dtype, over all rounds. */
export interface ComparedWork {
  readonly shape: ModelShape;
  readonly dtype: DType;
  readonly work: string;
  readonly ours: Spread;
  readonly theirs: Spread;
  /** Ratio of the medians; above 1 this library is quicker. */
  readonly ratio: number;
  /** Ratios of the two figures of a round, which were taken within a minute of each other. */
  readonly ratioPerRound: Spread;
}

/** Brings the rounds together, in the order of the first of each shape and dtype. */
export function compare(rounds: readonly Round[]): ComparedWork[] {
  const isSame = (a: Round, b: Round) => a.shape === b.shape && a.dtype === b.dtype;
  const firsts = rounds.filter((round, i) => rounds.findIndex((other) => isSame(round, other)) === i);
  return firsts.flatMap((first) => {
    const { shape, dtype } = first;
    const own = rounds.filter((round) => isSame(round, first));
    return [...own[0].ours.rates.keys()].map((work) => {
      const pairs = own.map(({ ours, theirs }) => ({ ours: rate(ours.rates, work), theirs: rate(theirs, work) }));
      const ours = spreadOf(pairs.map((pair) => pair.ours));
      const theirs = spreadOf(pairs.map((pair) => pair.theirs));
      const ratioPerRound = spreadOf(pairs.map((pair) => pair.ours / pair.theirs));
      return { shape, dtype, work, ours, theirs, ratio: ours.median / theirs.median, ratioPerRound };
    });
  });
}

/** The kernels that ours chose, all that it did: it tries them anew in each process. */
export function chosenKernels(rounds: readonly Round[]): string {
  const choices = rounds.map(({ ours: { kernels } }) => {
    return Object.entries(kernels).map(([work, name]) => `${name} for ${work}`);
  });
  return [...new Set(choices.map((choice) => choice.join(', ')))].join('; ');
}

/** The comparison for people. */
export function describeComparison(works: readonly ComparedWork[], { name, formats }: Peer): string {
  const isOneShape = new Set(works.map(({ shape }) => shape)).size === 1;
  const rows = works.map(({ shape, dtype, work, ours, theirs, ratio, ratioPerRound }) => [
    `${isOneShape ? '' : `${shape}, `}${dtype} / ${formats[dtype]}, ${work}`,
    ...[tokens(ours.median), range(ours, tokens), tokens(theirs.median), range(theirs, tokens)],
    ...[ratio.toFixed(2), range(ratioPerRound, (value) => value.toFixed(2))],
  ]);
  const heading = ['tokens/s', 'mamba2', 'min - max', name, 'min - max', 'ratio', 'per round'];
  return formatTable([heading, ...rows]);
}

function rate(rates: Rates, work: string): number {
  const found = rates.get(work);
  if (found === undefined) throw new Error(`'${work}' was measured on one side only.`);
  return found;
}

function range({ min, max }: Spread, format: (value: number) => string): string {
  return `${format(min)} - ${format(max)}`;
}

function tokens(perSecond: number): string {
  return perSecond.toFixed(perSecond < 100 ? 1 : 0);
}
