import { type Spread, spreadOf } from '../../src/bench/spread.ts';
import { formatTable } from '../../src/cli/terminal/table.ts';
import { type Contender, type Rates, WORKS } from './workload.ts';

/** One round: every contender once. */
export type Round = readonly { readonly contender: Contender; readonly rates: Rates }[];

/** One work of one contender over all rounds. */
export interface ContenderWork {
  readonly contender: Contender;
  readonly work: (typeof WORKS)[number];
  readonly rate: Spread;
  /** Ratio to wllama's best format at this work, by medians; above 1 this library is quicker. */
  readonly ratio: number;
  /** Ratios of the two figures of a round. */
  readonly ratioPerRound: Spread;
}

/** Brings the rounds together. */
export function summarize(rounds: readonly Round[]): ContenderWork[] {
  const contenders = rounds[0].map(({ contender }) => contender);
  return WORKS.flatMap((work) => {
    const ratesOf = ({ library, dtype }: Contender) =>
      rounds.map((round) => {
        const run = round.find(({ contender }) => contender.library === library && contender.dtype === dtype);
        if (run === undefined) throw new Error(`${library} ${dtype} is missing in a round.`);
        return run.rates[work];
      });
    const theirs = contenders.filter(({ library }) => library === 'wllama').map(ratesOf);
    const best = theirs.reduce((a, b) => (spreadOf(a).median >= spreadOf(b).median ? a : b));
    return contenders.map((contender) => {
      const rates = ratesOf(contender);
      const rate = spreadOf(rates);
      const ratioPerRound = spreadOf(rates.map((value, round) => value / best[round]));
      return { contender, work, rate, ratio: rate.median / spreadOf(best).median, ratioPerRound };
    });
  });
}

/** The same for people. */
export function describe(works: readonly ContenderWork[], promptTokens: number): string {
  const rows = works.map(({ contender: { library, dtype }, work, rate, ratio, ratioPerRound }) => [
    `${work === 'prefill' ? `prefill ${promptTokens}` : work}, ${library} ${dtype}`,
    ...[tokens(rate.median), `${tokens(rate.min)} - ${tokens(rate.max)}`],
    ...[ratio.toFixed(2), `${ratioPerRound.min.toFixed(2)} - ${ratioPerRound.max.toFixed(2)}`],
  ]);
  return formatTable([['tokens/s', 'median', 'min - max', "to wllama's best", 'per round'], ...rows]);
}

function tokens(perSecond: number): string {
  return perSecond.toFixed(perSecond < 100 ? 1 : 0);
}
