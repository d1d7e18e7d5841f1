import { describe, vi } from 'vitest';
import { createWebGpuBackend } from '../../../src/backends/webgpu/create-backend.ts';
import { need } from '../../needs/needs.ts';
import { describeBackend } from '../suite/backend-suite.ts';
import { WEBGPU_DEMANDS } from './demands.ts';

// A GPU made of a processor takes its time.
vi.setConfig({ testTimeout: 300_000 });

describe.runIf(need('software-gpu'))('webgpu backend', () => {
  describeBackend(() => createWebGpuBackend(), WEBGPU_DEMANDS);
});
