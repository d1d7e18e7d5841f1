import { describe, vi } from 'vitest';
import { createWebGpuBackend } from '../../../src/backends/webgpu/create-backend.ts';
import { need } from '../../needs/needs.ts';
import { SECTIONS } from '../suite/backend-suite.ts';
import { WEBGPU_DEMANDS } from './demands.ts';
import { LARGE_SECTIONS } from './large-sections.ts';

vi.setConfig({ testTimeout: 900_000 });

describe.runIf(need('software-gpu'))('webgpu backend', () => {
  for (const section of LARGE_SECTIONS) SECTIONS[section](() => createWebGpuBackend(), WEBGPU_DEMANDS);
});
