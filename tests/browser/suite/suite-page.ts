import { createWebGpuBackend } from '../../../src/backends/webgpu/create-backend.ts';
import { SECTIONS } from '../../backends/suite/backend-suite.ts';
import { WEBGPU_DEMANDS } from '../../backends/webgpu/demands.ts';
import { type CaseResult, runCases } from './vitest-in-page.ts';

declare global {
  /** Runs one section of the backend suite on the page's GPU. */
  var runSection: (section: keyof typeof SECTIONS) => Promise<CaseResult[]>;
}

globalThis.runSection = (section) => {
  SECTIONS[section](() => createWebGpuBackend(), WEBGPU_DEMANDS);
  return runCases();
};
