import { describe, test } from 'vitest';
import type { Backend } from '../../src/backends/contract/backend.ts';
import { CpuBackend } from '../../src/backends/cpu/cpu-backend.ts';
import { compileFastestKernels, loadKernels } from '../../src/backends/cpu/load-kernels.ts';
import type { AttentionMetadata } from '../../src/layers/attention/attention-metadata.ts';
import type { Tensor } from '../../src/tensor/tensor.ts';
import { expectSame } from './suite/harness.ts';
import { Inputs } from './suite/inputs.ts';

const [ROWS, HEADS, KV_HEADS, HEAD_DIM, EXPERTS] = [3, 4, 2, 16, 6];
const COLUMNS = HEADS * HEAD_DIM;
const KV_COLUMNS = KV_HEADS * HEAD_DIM;
const [BLOCKS, BLOCK_SIZE, WIDTH] = [12, 32, 4];

/** A decode step's vectors: they are all that differs between two steps of one key. */
interface Step {
  readonly ids: readonly number[];
  readonly positions: readonly number[];
  readonly tables: readonly (readonly number[])[];
}

const STEPS: readonly Step[] = [
  { ids: [1, 2, 3], positions: [0, 31, 5], tables: [[4], [7], [2]] },
  { ids: [9, 2, 0], positions: [1, 32, 6], tables: [[4], [7, 1], [2]] },
  { ids: [5, 5, 5], positions: [70, 33, 0], tables: [[9, 0, 11], [7, 1], [3]] },
  { ids: [4, 8, 1], positions: [127, 34, 1], tables: [[9, 0, 11, 5], [7, 1], [3]] },
];

describe('steps of attention and experts, repeated by the cpu backend', () => {
  test('give the bits of steps that run anew', async () => {
    const compiled = compileFastestKernels();
    const [repeating, anew] = [1, 2].map(() => new Layer(new CpuBackend(loadKernels(compiled))));
    for (const [i, step] of STEPS.entries()) {
      const expected = await anew.run(`step ${i}`, step);
      expectSame(await repeating.run('decode', step), expected, `step ${i}`);
    }
  });
});

/** An attention layer and a mixture of experts between an embedding and the result. */
class Layer {
  readonly #backend: Backend;
  readonly #matrices: Readonly<Record<'embedding' | 'qkv' | 'out' | 'router', ReturnType<Backend['linearWeight']>>>;
  readonly #experts: readonly Record<'up' | 'down', ReturnType<Backend['linearWeight']>>[];
  readonly #keyCache: Tensor;
  readonly #valueCache: Tensor;
  readonly #frequencies: Tensor;

  constructor(backend: Backend) {
    const inputs = new Inputs(1);
    const matrix = (rows: number, columns: number) =>
      backend.linearWeight(inputs.normal(rows * columns, 0, columns ** -0.5), rows, columns, 'int8');
    const cache = () => {
      const shape = [BLOCKS, BLOCK_SIZE, KV_HEADS, HEAD_DIM];
      return backend.tensor(inputs.normal(BLOCKS * BLOCK_SIZE * KV_COLUMNS), shape);
    };
    this.#backend = backend;
    this.#matrices = {
      embedding: matrix(10, COLUMNS),
      qkv: matrix(COLUMNS + 2 * KV_COLUMNS, COLUMNS),
      out: matrix(COLUMNS, COLUMNS),
      router: matrix(EXPERTS, COLUMNS),
    };
    this.#experts = Array.from({ length: EXPERTS }, () => ({ up: matrix(48, COLUMNS), down: matrix(COLUMNS, 24) }));
    this.#keyCache = cache();
    this.#valueCache = cache();
    this.#frequencies = backend.tensor(Float32Array.of(1, 0.1, 0.01, 0.001), [4]);
  }

  run(key: string, { ids, positions, tables }: Step): Promise<Float32Array> {
    const slotMapping = positions.map(
      (position, s) => tables[s][Math.floor(position / BLOCK_SIZE)] * BLOCK_SIZE + (position % BLOCK_SIZE),
    );
    const inputs = {
      ids: Int32Array.from(ids),
      attention: {
        positions: Int32Array.from(positions),
        slotMapping: Int32Array.from(slotMapping),
        contextLens: Int32Array.from(positions, (position) => position + 1),
        blockTables: Int32Array.from(
          tables.flatMap((blocks) => Array.from({ length: WIDTH }, (_, i) => blocks[i] ?? 0)),
        ),
        queryStartLoc: Int32Array.from({ length: ROWS + 1 }, (_, s) => s),
      },
    };
    const { y } = this.#backend.step({
      variant: { key },
      inputs,
      compute: (tensors) => ({ y: this.#forward(tensors) }),
    });
    return this.#backend.read(y);
  }

  #forward({ ids, attention }: { readonly ids: Tensor; readonly attention: AttentionMetadata }): Tensor {
    const backend = this.#backend;
    const { positions, slotMapping, contextLens, blockTables, queryStartLoc } = attention;
    const { embedding, qkv, out, router } = this.#matrices;
    const [keyCache, valueCache] = [this.#keyCache, this.#valueCache];
    const x = backend.mulScalar(backend.embedding(ids, embedding), 3);
    const [q, k, value] = backend.splitColumns(backend.linear(x, qkv), [COLUMNS, KV_COLUMNS, KV_COLUMNS]);
    const table = backend.rotaryTable(positions, this.#frequencies, 1);
    const rotated = (heads: Tensor) => backend.rotaryEmbedding(heads, table, HEAD_DIM);
    backend.reshapeAndCache({ key: rotated(k), value, keyCache, valueCache, slotMapping });
    const sequences = { queryStartLoc, contextLens, blockTables };
    const seen = backend.pagedAttention({ query: rotated(q), keyCache, valueCache, scale: 0.25, ...sequences });
    const y = backend.add(x, backend.linear(seen, out));
    const options = { topK: 2, scoring: 'softmax', renormalize: true } as const;
    const routing = backend.topKRouting(backend.linear(y, router), options);
    return backend.add(y, backend.fusedMoe(y, routing, this.#experts, 'silu', true));
  }
}
