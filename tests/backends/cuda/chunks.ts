import { assert, describe, test } from 'vitest';
import type { Backend } from '../../../src/backends/contract/backend.ts';
import { PAD_SLOT_ID } from '../../../src/backends/contract/sequences.ts';
import { HostSavedSlot } from '../../../src/backends/contract/slots.ts';
import { singleProcess } from '../../../src/distributed/process-group.ts';
import { LLMEngine } from '../../../src/engine/llm-engine.ts';
import { ModelRunner } from '../../../src/engine/run/model-runner.ts';
import { resolveSamplingParams } from '../../../src/engine/sample/sampling-params.ts';
import { LayerContext } from '../../../src/layers/parameters/layer-context.ts';
import { defineModel } from '../../../src/models/registry.ts';
import type { StateDType } from '../../../src/tensor/state-dtype.ts';
import { loadSeeded } from '../../layers/mixer-rig.ts';
import { SeededRandom } from '../../layers/seeded.ts';
import { grid } from '../../runs.ts';
import { expectSame, indices, useBackend } from '../suite/harness.ts';
import { batchTensors, type Sequence, spans } from '../suite/sequences.ts';
import {
  concatInputs,
  expectedResult,
  operationArgs,
  type StateSpaceInputs,
  type StateSpaceSizes,
  sliceInputs,
} from '../suite/state-space-problem.ts';

export type MakePrecise = (matmulPrecision: 'high' | 'medium') => Promise<Backend>;

const CHUNK = 64;
/** What outputs and states may be off by, relative to all of theirs: in the mean, and the most of any to the largest. */
const [MEAN_ERROR, MOST_ERROR] = [5e-4, 1e-3];
const SIZES = { heads: 2, headDim: 32, stateSize: 64, groups: 1 };

/** Tests prompts whose whole chunks tensor cores scan. */
export function describeChunks(make: MakePrecise): void {
  describe('prompts by chunks', () => {
    const medium = useBackend(() => make('medium'));
    const high = useBackend(() => make('high'));

    const shapes = [64, 128, 256].flatMap((stateSize) =>
      [
        { heads: 2, headDim: 32, groups: 1 },
        { heads: 2, headDim: 64, groups: 2 },
        { heads: 1, headDim: 128, groups: 1 },
      ].flatMap((shape) => ['as trained', 'large'].map((values) => ({ ...shape, stateSize, values }))),
    );
    test.each(grid(shapes))(
      '$heads heads of $headDim with $stateSize columns in $groups groups, values $values: as the oracle',
      async ({ values, ...sizes }) => {
        const inputs = draw(sizes, 3 * CHUNK, values === 'large' ? 40 : 3);
        const whole = expectedResult(inputs);
        const { y, states } = await scan(medium(), inputs, [{ length: 3 * CHUNK, slot: 0 }]);
        expectWithin(y, whole.y, 'y');
        expectWithin(states, whole.state, 'state');
      },
    );

    test('from a state, with gates, without D, and with limited steps: as the oracle', async () => {
      const { D: _, ...drawn } = draw(SIZES, 2 * CHUNK);
      const random = new SeededRandom(2);
      const inputs = { ...drawn, z: random.floats(drawn.x.length, -3, 3), dtLimit: [0.01, 0.05] as const };
      const initial = random.floats(slotSize(SIZES));
      const expected = expectedResult(inputs, initial);
      const sequences = [{ length: 2 * CHUNK, slot: 0, hasInitialState: true }];
      const { y, states } = await scan(medium(), inputs, sequences, { states: initial });
      expectWithin(y, expected.y, 'y');
      expectWithin(states, expected.state, 'state');
    });

    test.each([
      { dtype: 'float32', isStochastic: false },
      { dtype: 'float16', isStochastic: false },
      { dtype: 'float16', isStochastic: true },
      { dtype: 'bfloat16', isStochastic: false },
      { dtype: 'bfloat16', isStochastic: true },
    ] as const)(
      'packing, padding, order and splits between chunks change no bit: $dtype states, stochastic: $isStochastic',
      async (storage) => {
        const lengths = [2 * CHUNK + 9, 5, CHUNK, CHUNK - 1];
        const parts = lengths.map((length, seed) => draw(SIZES, length, 3, seed));
        // The first sequence continues one of 40 tokens.
        const positions = [40, 0, 3 * CHUNK, 1];
        const state = new SeededRandom(9).floats(4 * slotSize(SIZES));
        const of = (i: number, from = 0, length = lengths[i]) => {
          const position = positions[i] + from;
          return { length, slot: i, hasInitialState: position > 0, position };
        };
        const run = (inputs: StateSpaceInputs, sequences: readonly Scanned[], states = state) =>
          scan(medium(), inputs, sequences, { ...storage, states });
        const alone: Scan[] = [];
        for (const [i, part] of parts.entries()) alone.push(await run(part, [of(i)]));

        const padding = { length: CHUNK + 3, slot: PAD_SLOT_ID, hasInitialState: false };
        const order = [2, undefined, 0, 3, 1];
        const sequences = order.map((i) => (i === undefined ? padding : of(i)));
        const rows = order.map((i) => (i === undefined ? draw(SIZES, padding.length) : parts[i]));
        const packed = await run(concatInputs(rows), sequences);
        for (const { begin, end, slot } of spans(sequences)) {
          if (slot === PAD_SLOT_ID) continue;
          expectSame(rowsOf(packed.y, begin, end), alone[slot].y, `y of sequence ${slot}`);
          expectSame(stateOf(packed.states, slot), stateOf(alone[slot].states, slot), `state of sequence ${slot}`);
        }

        // Steps end where the position is a multiple: after 24 tokens and 64 more.
        const ends = [0, 24, 24 + CHUNK, lengths[0]];
        let states = state;
        for (const [i, from] of ends.slice(0, -1).entries()) {
          const to = ends[i + 1];
          const part = await run(sliceInputs(parts[0], from, to), [of(0, from, to - from)], states);
          expectSame(part.y, rowsOf(alone[0].y, from, to), `rows ${from} to ${to}`);
          states = part.states;
        }
        expectSame(stateOf(states, 0), stateOf(alone[0].states, 0), 'the state after the last part');
      },
    );

    test.each([
      { name: 'without positions', isMedium: true, how: { withPositions: false } },
      { name: 'where states stay as they are', isMedium: true, how: { keepState: false } },
      { name: 'with high precision', isMedium: false, how: {} },
    ])('$name: the bits of the recurrence', async ({ isMedium, how }) => {
      const inputs = draw(SIZES, CHUNK);
      const found = await scan(isMedium ? medium() : high(), inputs, [{ length: CHUNK, slot: 0 }], how);
      await expectRecurrence(found, inputs, how);
    });

    test.each([
      { name: 'heads of 48 channels', sizes: { ...SIZES, headDim: 48 } },
      { name: 'states of 96 columns', sizes: { ...SIZES, stateSize: 96 } },
    ])('$name: the bits of the recurrence', async ({ sizes }) => {
      const inputs = draw(sizes, CHUNK);
      await expectRecurrence(await scan(medium(), inputs, [{ length: CHUNK, slot: 0 }]), inputs);
    });

    async function expectRecurrence(found: Scan, inputs: StateSpaceInputs, how: How = {}): Promise<void> {
      const expected = await scan(high(), inputs, [{ length: inputs.rows, slot: 0 }], { ...how, withPositions: false });
      expectSame(found.y, expected.y, 'y');
      expectSame(found.states, expected.states, 'states');
    }

    test('a model gives the same tokens, however its prompts are divided and batched', async () => {
      const random = new SeededRandom(3);
      const prompts = [70, 140].map((length) => Array.from({ length }, () => random.integer(0, 39)));
      const expected = await answersOf(await make('medium'), prompts, 256);
      assert.deepEqual(await answersOf(await make('medium'), prompts, 128), expected);
      const [first] = await answersOf(await make('high'), prompts.slice(0, 1), 256);
      assert.notDeepEqual(first, expected[0]);
    });
  });
}

/** Tokens and their probabilities of a small model, in steps of so many tokens. */
async function answersOf(backend: Backend, prompts: readonly number[][], maxNumBatchedTokens: number) {
  const config = {
    ...{ model_type: 'mamba2', vocab_size: 40, hidden_size: 16, num_hidden_layers: 2, expand: 2, conv_kernel: 4 },
    ...{ num_heads: 1, head_dim: 32, n_groups: 1, state_size: 64, chunk_size: 8, tie_word_embeddings: true },
  };
  const model = defineModel(config).create(new LayerContext(backend, singleProcess, 'float32'));
  loadSeeded(model, 1);
  const executor = new ModelRunner(backend, model, { slots: prompts.length, numBlocks: 0, chunkSize: 8 });
  const engine = new LLMEngine({
    ...{ executor, tokenizer: undefined, eosTokenIds: [], vocabSize: 40, maxNumSeqs: prompts.length },
    ...{ maxNumBatchedTokens, enablePrefixCaching: false },
  });
  const answers: unknown[][] = prompts.map(() => []);
  const params = resolveSamplingParams({ temperature: 0, maxTokens: 2, logprobs: 1 }, {});
  for (const [i, promptTokenIds] of prompts.entries()) engine.addRequest({ requestId: `${i}`, promptTokenIds, params });
  while (engine.hasUnfinishedRequests()) {
    for (const { requestId, outputs } of await engine.step()) {
      answers[Number(requestId)].push(...outputs.flatMap(({ tokens }) => tokens));
    }
  }
  await executor.dispose();
  return answers;
}

/** Values of a layer: x, B and C as activations are, and decays of 0.5 to 16 times steps of some hundredths. */
export function draw(sizes: StateSpaceSizes, rows: number, scale = 3, seed = 7): StateSpaceInputs {
  const { heads: H, headDim: P, stateSize: N, groups: G } = sizes;
  const [random, weights] = [new SeededRandom(seed), new SeededRandom(1)];
  const activations = (count: number) => random.floats(count, -scale, scale).map((v) => v / (1 + Math.exp(-v)));
  return {
    ...{ ...sizes, rows, dtSoftplus: true },
    ...{ x: activations(rows * H * P), B: activations(rows * G * N), C: activations(rows * G * N) },
    ...{ dt: random.floats(rows * H), A: weights.floats(H, -16, -0.5), D: weights.floats(H) },
    dtBias: weights.floats(H, -5, -1),
  };
}

type Scanned = Pick<Sequence, 'length' | 'slot'> & { readonly hasInitialState?: boolean; readonly position?: number };

interface How {
  readonly states?: Float32Array;
  readonly dtype?: StateDType;
  readonly isStochastic?: boolean;
  readonly withPositions?: boolean;
  readonly keepState?: boolean;
}

interface Scan {
  readonly y: Float32Array;
  readonly states: Float32Array;
}

/** Scans packed sequences, each of which begins at its position. */
export async function scan(
  backend: Backend,
  inputs: StateSpaceInputs,
  scanned: readonly Scanned[],
  how: How = {},
): Promise<Scan> {
  const { states, dtype = 'float32', isStochastic = false, withPositions = true, keepState } = how;
  const { heads: H, headDim: P, stateSize: N } = inputs;
  const sequences = scanned.map((sequence) => ({ hasInitialState: false, ...sequence }));
  const size = slotSize(inputs);
  const count = states ? states.length / size : scanned.length;
  const ssmStates = backend.zeros([count, H, P, N], dtype);
  for (let slot = 0; states && slot < count; slot++) {
    backend.loadSlot(ssmStates, slot, new HostSavedSlot(states.slice(slot * size, (slot + 1) * size)));
  }
  const starts = scanned.map(({ position = 0 }) => position);
  const positions = indices(backend, starts);
  const y = backend.mambaChunkScan({
    ...operationArgs(backend, inputs, true),
    ...batchTensors(backend, sequences),
    ...{ ssmStates, keepState, chunkSize: 256, positions: withPositions ? positions : undefined },
    rounding: isStochastic ? { key: 5, positions } : undefined,
  });
  return { y: await backend.read(y), states: await backend.read(ssmStates) };
}

function slotSize({ heads, headDim, stateSize }: StateSpaceSizes): number {
  return heads * headDim * stateSize;
}

/** Rows and states of layers of the usual sizes. */
function rowsOf(y: Float32Array, begin: number, end: number): Float32Array {
  return y.subarray(begin * SIZES.heads * SIZES.headDim, end * SIZES.heads * SIZES.headDim);
}
function stateOf(states: Float32Array, slot: number): Float32Array {
  return states.subarray(slot * slotSize(SIZES), (slot + 1) * slotSize(SIZES));
}

function expectWithin(found: Float32Array, expected: Float64Array, what: string): void {
  let [squares, errors, most, largest] = [0, 0, 0, 0];
  for (const [i, value] of expected.entries()) {
    const error = Math.abs(found[i] - value);
    assert(Number.isFinite(error), `${what}: [${i}] is ${found[i]}`);
    squares += value ** 2;
    errors += error ** 2;
    most = Math.max(most, error);
    largest = Math.max(largest, Math.abs(value));
  }
  const mean = Math.sqrt(errors / squares);
  assert(mean < MEAN_ERROR && most < MOST_ERROR * largest, `${what} is off by ${mean}, at most by ${most / largest}`);
}
