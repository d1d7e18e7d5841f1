import type { Backend } from '../../backends/contract/backend.ts';
import type { PrepareWatch } from '../../backends/contract/life-cycle.ts';
import { PAD_SLOT_ID } from '../../backends/contract/sequences.ts';
import { buildAttentionMetadata, KV_BLOCK_SIZE } from '../../layers/attention/attention-metadata.ts';
import { buildMamba2Metadata, type ScheduledSequence } from '../../layers/mamba/mamba2-metadata.ts';
import type { CausalLM } from '../../models/causal-lm.ts';
import type { Tensor } from '../../tensor/tensor.ts';
import { prepareGuess, prepareSampling } from './guess-tokens.ts';
import type { StateCache } from './state-cache.ts';

/** Tokens of prompts in steps that are made ready before the first, unless a backend names others. */
const PROMPTS = [8, 512];

/** Parts that steps consist of. */
export interface StepParts {
  readonly backend: Backend;
  readonly model: CausalLM;
  readonly states: StateCache;
  /** The token that was sampled last for each slot, where the backend samples. */
  readonly sampled: Tensor | undefined;
  /** The token that was guessed last for each slot, where the backend samples and the model guesses. */
  readonly guessed: Tensor | undefined;
  /** An int32 tensor of no elements. */
  readonly none: Tensor;
  readonly slots: number;
  readonly chunkSize: number;
  /** Whether states are rounded by the positions of tokens. */
  readonly withPositions: boolean;
  /** How many tokens the states of decoding slots lack; undefined where they are written in each step. */
  readonly countReplayed: ((decodes: readonly ScheduledSequence[]) => Int32Array | undefined) | undefined;
}

/**
 * Readies the kernels of steps of usual sizes, so that no request waits for them.
 * @param maxTokens that a step takes.
 */
export async function prepareSteps(parts: StepParts, maxTokens: number, watch?: PrepareWatch): Promise<void> {
  const { backend, model, states, slots } = parts;
  const decodes = backend.decodesToPrepare?.(Math.min(slots, maxTokens)) ?? [];
  const prompts = new Set((backend.promptsToPrepare ?? PROMPTS).map((numTokens) => Math.min(numTokens, maxTokens)));
  const steps = [
    ...decodes.map((rows) => () => prepareStep(parts, new Array<number>(rows).fill(1), 1)),
    ...[...prompts].map((numTokens) => () => prepareStep(parts, [numTokens], 0)),
    ...(states.lastHidden && model.isLastStage ? decodes : []).map((rows) => () => prepareGuess(parts, rows)),
  ];
  await backend.prepare?.(steps, watch);
}

/** Limit for the tokens of a step, so that every activation is small enough for the backend's operations. */
export function maxBatchedTokens(parts: StepParts): number {
  return parts.backend.maxRows?.(() => forward(parts, [1], 0)) ?? Number.POSITIVE_INFINITY;
}

/** Enqueues a step of sequences that are padding: of the right sizes, and without effect if it ran. */
function prepareStep(parts: StepParts, lengths: readonly number[], computed: number): void {
  const { backend, model, sampled } = parts;
  const hiddenStates = forward(parts, lengths, computed);
  if (!model.isLastStage) return;
  const last = lengths.map((_, i) => lengths.slice(0, i + 1).reduce((sum, numTokens) => sum + numTokens, -1));
  const isAll = last.length === hiddenStates.shape[0];
  const selected = isAll
    ? hiddenStates
    : backend.gatherRows(hiddenStates, backend.tensor(Int32Array.from(last), [last.length]));
  const logits = model.computeLogits(selected);
  if (sampled) prepareSampling(backend, logits, sampled);
}

function forward(
  { backend, model, states, chunkSize, withPositions, countReplayed }: StepParts,
  lengths: readonly number[],
  computed: number,
): Tensor {
  const sequences = lengths.map((numTokens) => ({ slot: PAD_SLOT_ID, numComputedTokens: computed, numTokens }));
  const rows = lengths.reduce((sum, numTokens) => sum + numTokens, 0);
  return model.forward({
    inputIds: backend.tensor(new Int32Array(rows), [rows]),
    activations: model.isFirstStage ? undefined : backend.empty([rows, model.activationSize]),
    cache: states.layers,
    kvCache: states.kvCache?.layers,
    lastHidden: states.lastHidden,
    metadata: {
      ...buildMamba2Metadata(backend, sequences, { chunkSize, withPositions, countReplayed }),
      attention:
        states.kvCache &&
        buildAttentionMetadata(backend, sequences, KV_BLOCK_SIZE, { withPrevious: states.lastHidden !== undefined }),
    },
  });
}
