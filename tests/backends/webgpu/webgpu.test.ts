import { describe, vi } from 'vitest';
import { createWebGpuBackend } from '../../../src/backends/webgpu/create-backend.ts';
import { need } from '../../needs/needs.ts';
import { SECTIONS } from '../suite/backend-suite.ts';
import { WEBGPU_DEMANDS } from './demands.ts';
import { LARGE_SECTIONS } from './large-sections.ts';

// A GPU made of a processor takes its time.
vi.setConfig({ testTimeout: 300_000 });

describe.runIf(need('software-gpu'))('webgpu backend', () => {
  for (const [name, describeSection] of Object.entries(SECTIONS)) {
    if (!LARGE_SECTIONS.some((large) => large === name)) describeSection(() => createWebGpuBackend(), WEBGPU_DEMANDS);
  }
});
