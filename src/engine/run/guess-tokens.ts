import type { Backend } from '../../backends/contract/backend.ts';
import { GREEDY, LAST_SAMPLED, type SamplingOps, samplingInputs } from '../../backends/contract/sampling.ts';
import { PAD_SLOT_ID } from '../../backends/contract/sequences.ts';
import { stepTensors } from '../../backends/contract/steps.ts';
import { ArgumentError } from '../../errors.ts';
import {
  type AttentionInputs,
  blockTableWidth,
  decodeAttentionInputs,
  KV_BLOCK_SIZE,
  type PagedSequence,
} from '../../layers/attention/attention-metadata.ts';
import { decodeMetadata } from '../../layers/mamba/mamba2-metadata.ts';
import { lastTokens } from '../../layers/mamba/previous-token.ts';
import type { CausalLM } from '../../models/causal-lm.ts';
import type { Tensor } from '../../tensor/tensor.ts';
import type { GuessedSequence } from './executor.ts';
import type { StateCache } from './state-cache.ts';

/** Parts that guesses need. */
export interface GuessParts {
  readonly backend: Backend;
  readonly model: CausalLM;
  readonly states: StateCache;
  /** An int32 tensor of no elements. */
  readonly none: Tensor;
  /** (slots): the token that was guessed last for each, where the backend samples. */
  readonly guessed: Tensor | undefined;
  readonly chunkSize: number;
}

/** A step's inputs of a group of tokens that are guessed one after the other, by the number of the token. */
type PassInputs = { readonly [pass: string]: AttentionInputs };

/** What is known after a guessed token: the layers' own output, for the next one. */
interface Pass {
  readonly hiddenStates: Tensor;
  readonly logits: Tensor;
}

/**
 * The likeliest next tokens of sequences, each from the one before: (sequences, count). No slot changes; keys and values of the
 * guesses lie after those of the text.
 * @throws ArgumentError in a model without layers for it.
 */
export async function guessTokens(
  parts: GuessParts,
  sequences: readonly GuessedSequence[],
  count: number,
): Promise<Int32Array<ArrayBuffer>> {
  const { backend, guessed } = parts;
  const columns =
    backend.sampling && guessed
      ? await guessOnDevice(parts, { sampling: backend.sampling, guessed }, sequences, count)
      : await guessOnHost(parts, sequences, count);
  return Int32Array.from({ length: sequences.length * count }, (_, i) => columns[i % count][Math.floor(i / count)]);
}

/** The choice of tokens from logits (B, vocabSize), for its kernels alone. @param kept (slots): gets tokens of no meaning. */
export function prepareSampling(backend: Backend, logits: Tensor, kept: Tensor): void {
  const rows = Array.from({ length: logits.shape[0] }, () => ({ ...GREEDY, slot: 0 }));
  const inputs = stepTensors(samplingInputs(rows), (values) => backend.tensor(values, [values.length]));
  backend.sampling?.sampleTokens(logits, inputs, kept);
  const indices = backend.tensor(new Int32Array(rows.length), [rows.length]);
  backend.sampling?.takeSampled(indices, indices, kept);
}

/** Readies the kernels of guesses at one token of each of some sequences: see `prepareSteps`. Nothing is kept. */
export function prepareGuess(parts: GuessParts, rows: number): void {
  const { backend, model, states, guessed } = parts;
  if (!states.lastHidden) return;
  const indices = (values: Int32Array) => backend.tensor(values, [values.length]);
  const padding = new Array<PagedSequence>(rows).fill({ slot: PAD_SLOT_ID, numComputedTokens: 1, numTokens: 1 });
  const zeros = indices(new Int32Array(rows));
  const attention =
    states.kvCache && model.kvCacheSizes.length > 0
      ? stepTensors(decodeAttentionInputs(padding, KV_BLOCK_SIZE), indices)
      : undefined;
  const { logits } = run(parts, zeros, previousOf(parts, zeros), zeros, attention);
  if (guessed) prepareSampling(backend, logits, guessed);
}

/** All tokens in one step, which a backend can repeat. */
function guessOnDevice(
  parts: GuessParts,
  { sampling, guessed }: { readonly sampling: SamplingOps; readonly guessed: Tensor },
  sequences: readonly GuessedSequence[],
  count: number,
): Promise<number[][]> {
  const { backend } = parts;
  const rows = sequences.map(({ slot }) => ({ ...GREEDY, slot }));
  const results = backend.step({
    variant: { guesses: count },
    inputs: {
      tokenIds: Int32Array.from(sequences, ({ tokenId }) => tokenId),
      lastGuessed: new Int32Array(sequences.length).fill(LAST_SAMPLED),
      slots: Int32Array.from(sequences, ({ slot }) => slot),
      sampling: samplingInputs(rows),
      passes: passInputs(parts, sequences, count),
    },
    compute: ({ tokenIds, lastGuessed, slots, sampling: table, passes }) => {
      const chosen: Record<string, Tensor> = {};
      let inputIds = tokenIds;
      let previous = previousOf(parts, slots);
      for (let pass = 0; pass < count; pass++) {
        const { hiddenStates, logits } = run(parts, inputIds, previous, slots, passes?.[pass]);
        chosen[pass] = sampling.sampleTokens(logits, table, guessed);
        inputIds = sampling.takeSampled(lastGuessed, slots, guessed).tokenIds;
        previous = hiddenStates;
      }
      return chosen;
    },
  });
  // All reads begin before anything else is computed.
  const reads = Array.from({ length: count }, (_, pass) => {
    const chosen = results[pass];
    return chosen ? backend.read(chosen) : new Float32Array(2 * sequences.length);
  });
  return Promise.all(reads).then((tokens) => tokens.map((row) => sequences.map((_, i) => Math.max(0, row[2 * i]))));
}

/** Token by token, where logits are on the host anyway. */
async function guessOnHost(
  parts: GuessParts,
  sequences: readonly GuessedSequence[],
  count: number,
): Promise<number[][]> {
  const { backend, model } = parts;
  const passes = passInputs(parts, sequences, count);
  const columns: number[][] = [];
  const indices = (values: Int32Array) => backend.tensor(values, [values.length]);
  let tokens = sequences.map(({ tokenId }) => tokenId);
  let previous: Float32Array<ArrayBuffer> | undefined;
  for (let pass = 0; pass < count; pass++) {
    const given = previous;
    const [logits, hiddenStates] = await backend.scope(() => {
      const slots = indices(Int32Array.from(sequences, ({ slot }) => slot));
      const attention = passes?.[pass];
      const made = run(
        parts,
        indices(Int32Array.from(tokens)),
        given ? backend.tensor(given, [sequences.length, model.predictorSize]) : previousOf(parts, slots),
        slots,
        attention && stepTensors(attention, indices),
      );
      return Promise.all([backend.read(made.logits), backend.read(made.hiddenStates)]);
    });
    const width = logits.length / sequences.length;
    tokens = sequences.map((_, i) => likeliest(logits.subarray(i * width, (i + 1) * width)));
    previous = hiddenStates;
    columns.push(tokens);
  }
  return columns;
}

/** Places of keys and values of each guessed token's predecessor, all with tables of one width. */
function passInputs(
  { model, states }: GuessParts,
  sequences: readonly GuessedSequence[],
  count: number,
): PassInputs | undefined {
  if (!states.kvCache || model.kvCacheSizes.length === 0) return undefined;
  const at = (pass: number) =>
    sequences.map(
      ({ slot, numComputedTokens, blocks }): PagedSequence => ({
        slot,
        blocks,
        numComputedTokens: numComputedTokens - 1 + pass,
        numTokens: 1,
      }),
    );
  const width = blockTableWidth(at(count - 1), KV_BLOCK_SIZE);
  return Object.fromEntries(
    Array.from({ length: count }, (_, pass) => [`${pass}`, decodeAttentionInputs(at(pass), KV_BLOCK_SIZE, { width })]),
  );
}

/** What the model gave for the slots' last tokens: (B, hiddenSize). */
function previousOf({ backend, states }: GuessParts, slots: Tensor): Tensor {
  if (states.lastHidden) return backend.gatherRows(lastTokens(backend, states.lastHidden), slots);
  throw new ArgumentError('The model has no layers that guess tokens.', 'Load it with a speculativeConfig for them.');
}

function run(
  { model, states, none, chunkSize }: GuessParts,
  inputIds: Tensor,
  previous: Tensor,
  slots: Tensor,
  attention: Parameters<CausalLM['predict']>[0]['metadata']['attention'],
): Pass {
  const metadata = { ...decodeMetadata(slots, none, chunkSize), attention };
  const hiddenStates = model.predict({ inputIds, previous, kvCache: states.kvCache?.layers, metadata });
  return { hiddenStates, logits: model.computeLogits(hiddenStates) };
}

/** A guess may be anything: also of logits that are no numbers. */
export function likeliest(logits: Float32Array): number {
  let best = 0;
  for (let id = 1; id < logits.length; id++) if (logits[id] > logits[best]) best = id;
  return best;
}
