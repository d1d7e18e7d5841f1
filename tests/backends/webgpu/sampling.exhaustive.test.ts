import { describe } from 'vitest';
import { createWebGpuBackend } from '../../../src/backends/webgpu/create-backend.ts';
import { need } from '../../needs/needs.ts';
import { describeSampling } from '../suite/sampling.ts';

describe.runIf(need('software-gpu'))('sampling on webgpu', () => {
  describeSampling(() => createWebGpuBackend());
});
