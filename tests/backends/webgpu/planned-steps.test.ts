import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { createWebGpuBackend } from '../../../src/backends/webgpu/create-backend.ts';
import type { WebGpuBackend } from '../../../src/backends/webgpu/webgpu-backend.ts';
import type { Tensor } from '../../../src/tensor/tensor.ts';
import { need } from '../../needs/needs.ts';
import { FaultyGpu } from '../../software-gpu.ts';
import { COLUMNS, countingTable, IDS, KEYS } from './counting-table.ts';

vi.setConfig({ testTimeout: 300_000 });

describe.runIf(need('software-gpu'))('steps of more kinds than are kept', () => {
  let gpu: FaultyGpu;
  let backend: WebGpuBackend;

  beforeEach(async () => {
    gpu = await FaultyGpu.install();
    backend = await createWebGpuBackend();
  });
  afterEach(() => {
    backend.dispose();
    gpu.uninstall();
  });

  test('all run, though many are forgotten before the first is sent off', async () => {
    const table = countingTable(backend);
    const cache = (): Tensor => backend.zeros([1, IDS, 1, COLUMNS]);
    const [keyCache, valueCache] = [cache(), cache()];
    for (let key = 1; key <= KEYS; key++) {
      backend.step({
        variant: { key },
        inputs: { ids: Int32Array.of(key), slotMapping: Int32Array.of(IDS - key) },
        compute: ({ ids, slotMapping }) => {
          const rows = backend.mulScalar(backend.embedding(ids, table), key);
          backend.reshapeAndCache({ key: rows, value: rows, keyCache, valueCache, slotMapping });
          return { rows };
        },
      });
    }
    const values = await backend.read(keyCache);
    const expected = Array.from({ length: IDS }, (_, slot) => (slot >= IDS - KEYS ? (IDS - slot) ** 2 : 0));
    expect(expected.map((_, slot) => values[slot * COLUMNS])).toEqual(expected);
  });
});
