import type { Backend } from '../../backends/contract/backend.ts';
import type { ProcessGroup } from '../../distributed/process-group.ts';
import type { Tensor } from '../../tensor/tensor.ts';

/** A layer's output before the sum over its ranks. */
export interface RankSum {
  readonly group: ProcessGroup;
  /** Summands of this rank. */
  readonly summands: readonly Tensor[];
  /** Makes the layer's output of their sums over the ranks. */
  readonly finish: (sums: readonly Tensor[]) => Tensor;
}

/** A sum that is the layer's output itself. */
export function plainSum(group: ProcessGroup, summand: Tensor): RankSum {
  return { group, summands: [summand], finish: ([sum]) => sum };
}

/**
 * Sums the outputs of layers that do not depend on each other. Layers of the same ranks take one exchange together: at each
 * exchange all ranks wait for the slowest.
 */
export function sumOverRanks(backend: Backend, parts: readonly RankSum[]): Tensor[] {
  const groups = [...new Set(parts.map(({ group }) => group))];
  const sums = new Map<RankSum, Tensor[]>();
  for (const group of groups) {
    const own = parts.filter((part) => part.group === group);
    const all = backend.allReduce(
      own.flatMap(({ summands }) => summands),
      group,
    );
    let begin = 0;
    for (const part of own) {
      sums.set(part, all.slice(begin, begin + part.summands.length));
      begin += part.summands.length;
    }
  }
  return parts.map((part) => part.finish(sums.get(part) ?? []));
}
