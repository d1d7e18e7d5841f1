import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { createWebGpuBackend } from '../../../src/backends/webgpu/create-backend.ts';
import type { WebGpuBackend } from '../../../src/backends/webgpu/webgpu-backend.ts';
import { need } from '../../needs/needs.ts';
import { FaultyGpu } from '../../software-gpu.ts';
import { COLUMNS, countingTable, IDS, KEYS } from './counting-table.ts';

vi.setConfig({ testTimeout: 900_000 });

describe.runIf(need('software-gpu'))('steps of more kinds than are kept', () => {
  let gpu: FaultyGpu;
  let backend: WebGpuBackend;
  /** Bytes that the device was asked for and has not got back. */
  let allocated = 0;

  beforeEach(async () => {
    gpu = await FaultyGpu.install();
    gpu.onDevice = (device) => {
      const createBuffer = device.createBuffer.bind(device);
      device.createBuffer = (descriptor) => {
        const buffer = createBuffer(descriptor);
        allocated += buffer.size;
        const destroy = buffer.destroy.bind(buffer);
        buffer.destroy = () => {
          allocated -= buffer.size;
          return destroy();
        };
        return buffer;
      };
    };
    backend = await createWebGpuBackend();
  });
  afterEach(() => {
    backend.dispose();
    gpu.uninstall();
  });

  test('give what they should, in memory that does not grow', async () => {
    const table = countingTable(backend);
    const run = (key: number, ids: readonly number[]) => {
      const { rows } = backend.step({
        variant: { key },
        inputs: { ids: Int32Array.from(ids) },
        compute: (inputs) => ({ rows: backend.mulScalar(backend.embedding(inputs.ids, table), key) }),
      });
      return backend.read(rows);
    };
    const usedAfter: number[] = [];
    for (let round = 0; round < 3; round++) {
      // Half of them come again in the next round.
      for (let key = 1 + (round * KEYS) / 2; key <= KEYS + (round * KEYS) / 2; key++) {
        const ids = Array.from({ length: 1 + (key % 5) }, (_, row) => (key + 7 * row + round) % IDS);
        const expected = ids.flatMap((id) => new Array<number>(COLUMNS).fill(id * key));
        expect([...(await run(key, ids))], `round ${round}, step ${key}`).toEqual(expected);
        // One that is used all the time stays among those that come and go.
        expect((await run(0, [key]))[0]).toBe(0);
      }
      usedAfter.push(allocated);
    }
    expect(usedAfter).toEqual(new Array<number>(3).fill(usedAfter[0]));
  });
});
