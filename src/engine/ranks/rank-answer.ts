import type { ModelRunner } from '../run/model-runner.ts';
import type { RankResult, StepRequest } from './rank-protocol.ts';

/** Carries out a request to a rank. */
export async function carryOut(runner: ModelRunner, request: StepRequest, rank: number): Promise<RankResult> {
  switch (request.type) {
    case 'execute': {
      const step = await runner.execute(request.batch);
      return rank === 0 ? { step } : {};
    }
    case 'guess': {
      const guesses = await runner.guess(request.batch);
      return rank === 0 ? { guesses } : {};
    }
    case 'exportState':
      return { stateParts: await runner.exportStateParts(request.place) };
    case 'importState':
      await runner.importState(request.place, request.state);
      return {};
  }
}

/** Buffers of a result that can be transferred to another thread. */
export function buffersOf({ step, guesses, stateParts = [] }: RankResult): ArrayBuffer[] {
  const arrays = [
    step?.logits,
    step?.sampled,
    step?.logDecays?.sums,
    step?.activations,
    guesses,
    ...stateParts.map(({ values }) => values),
  ];
  return arrays.flatMap((array) => (array ? [array.buffer] : []));
}
