import { describeGpu } from '../../backends/webgpu/device/find-gpu.ts';

// Runs in a process of its own, whose standard error is thrown away: see quiet-device.ts.
await describeGpu().catch((error: unknown) => {
  process.stdout.write(error instanceof Error ? error.message : String(error));
  process.exitCode = 1;
});
