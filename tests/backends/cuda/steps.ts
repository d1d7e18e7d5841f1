import { describe, expect, test } from 'vitest';
import type { Backend } from '../../../src/backends/contract/backend.ts';
import type { LinearWeight } from '../../../src/backends/contract/linear.ts';
import type { Tensor } from '../../../src/tensor/tensor.ts';
import { type MakeBackend, useBackend } from '../suite/harness.ts';

const ROWS = 5;
const COLUMNS = 70;

/** Tests that a step that runs again gives what it gives the first time, whatever ran in between. */
export function describeSteps(makeBackend: MakeBackend): void {
  describe('repeated steps', () => {
    const backend = useBackend(makeBackend);

    test('read their inputs anew, and go on from the states that the last one left', async () => {
      const made = backend();
      const state = made.zeros([ROWS, 4, 64, 128]);
      const weights = { table: tableOf(made), A: ratesOf(made) };
      const seen: Float32Array[] = [];
      for (let n = 0; n < 5; n++) {
        const { out } = run(made, n, weights, state);
        seen.push(await made.read(out));
        // Other work between steps takes the memory that steps use.
        made.scope(() => made.add(made.zeros([300, 300]), made.zeros([300, 300])));
      }
      const fresh = made.zeros([ROWS, 4, 64, 128]);
      for (let n = 0; n < 5; n++) {
        // In a scope nothing is repeated.
        const values = made.scope(() => made.read(run(made, n, weights, fresh).out));
        expect(await values).toEqual(seen[n]);
      }
    });

    test('replay as many tokens as their counts say', async () => {
      const made = backend();
      const weights = { table: tableOf(made), A: ratesOf(made) };
      const [state, plain] = [0, 1].map(() => made.zeros([ROWS, 4, 64, 128]));
      const inputs = made.zeros([2 * ROWS, 256 + 128 + 4]);
      for (let n = 0; n < 7; n++) {
        const { out } = run(made, n, weights, state, { inputs, counts: new Int32Array(ROWS).fill(n % 3) });
        const found = await made.read(out);
        expect(found).toEqual(await made.scope(() => made.read(run(made, n, weights, plain).out)));
      }
    });

    test('of more kinds than are kept all run', async () => {
      const made = backend();
      const table = tableOf(made);
      for (const round of [1, 2, 3]) {
        for (let key = 0; key < 140; key++) {
          const { rows } = made.step({
            variant: { key },
            inputs: { ids: Int32Array.of(key % 20) },
            compute: ({ ids }) => ({ rows: made.mulScalar(made.embedding(ids, table), key) }),
          });
          if (key % 23 === round) expect((await made.read(rows))[3]).toBe(key * ((key % 20) * COLUMNS + 3));
        }
      }
    });
  });
}

interface Weights {
  readonly table: LinearWeight;
  readonly A: Tensor;
}

function tableOf(backend: Backend): LinearWeight {
  const values = Float32Array.from({ length: 20 * COLUMNS }, (_, i) => i);
  return backend.linearWeight(values, 20, COLUMNS, 'float32');
}

/** Decay rates of four heads. */
function ratesOf(backend: Backend): Tensor {
  return backend.tensor(Float32Array.of(-1, -2, -0.5, -0.1), [4]);
}

/** Inputs of tokens that states lack, and how many each row's lacks. */
interface Lacking {
  readonly inputs: Tensor;
  readonly counts: Int32Array;
}

/** A step that depends on its inputs, on a state and on weights. */
function run(backend: Backend, n: number, { table, A }: Weights, state: Tensor, lacking?: Lacking) {
  return backend.step({
    variant: { kind: 'state' },
    inputs: {
      ids: Int32Array.from({ length: ROWS }, (_, i) => (n + 3 * i) % 20),
      slots: Int32Array.of(4, 2, 0, 1, 3),
      counts: lacking?.counts,
    },
    compute: ({ ids, slots, counts }) => {
      const rows = backend.mulScalar(backend.embedding(ids, table), 1e-3);
      const [dt] = backend.splitColumns(rows, [4, COLUMNS - 4]);
      const wide = backend.concatColumns([rows, rows, rows, rows]);
      const [x] = backend.splitColumns(wide, [256, 4 * COLUMNS - 256]);
      const [B] = backend.splitColumns(wide, [128, 4 * COLUMNS - 128]);
      const replay = lacking && counts && { inputs: lacking.inputs, counts };
      const args = { state, x, dt, A, B, C: B, nGroups: 1, stateBatchIndices: slots, replay };
      const out = backend.selectiveStateUpdate(args);
      return { out };
    },
  });
}
