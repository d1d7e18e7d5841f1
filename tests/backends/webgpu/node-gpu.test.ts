import { describe, expect, test } from 'vitest';
import { createNodeGpu } from '../../../src/backends/webgpu/device/node-gpu.ts';
import { need } from '../../needs/needs.ts';

describe.runIf(need('dawn'))('Dawn in Node', () => {
  // One that is collected takes devices that came of it along, and with them the process.
  test('is one for the whole process, for the same options', async () => {
    const gpu = await createNodeGpu(['backend=null']);
    expect(await createNodeGpu(['backend=null'])).toBe(gpu);
    expect(await createNodeGpu(['backend=null', 'enable-dawn-features=allow_unsafe_apis'])).not.toBe(gpu);
  });
});
