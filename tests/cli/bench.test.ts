import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import type { BenchReport } from '../../src/bench/bench-report.ts';
import { runCli } from './run-cli.ts';

const SHORT = ['--prompt-tokens', '6,3', '--batch-sizes', '1,2', '--generate-tokens', '3', '--repetitions', '2'];
const REQUESTS = ['--requests', '1,2'];

describe('bench', () => {
  test('--json: every work once per dtype, and traffic that follows from sizes and speed', async () => {
    const { code, stdout, stderr } = await runCli(['bench', ...SHORT, ...REQUESTS, '--dtype', 'auto,int4', '--json']);
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    const report: BenchReport = JSON.parse(stdout);
    expect(report).toMatchObject({ model: 'tiny-dts', device: 'auto', ranks: 1 });
    const { readBytesPerSecond, operationsPerSecond } = report.machine;
    // How quick they are is the machine's affair.
    const speeds = [readBytesPerSecond, operationsPerSecond.float32, operationsPerSecond.int8];
    expect(speeds.filter((speed) => !(speed > 0 && Number.isFinite(speed)))).toEqual([]);
    expect(report.results.map(({ dtype }) => dtype)).toEqual(['bfloat16', 'int4']);
    const { weightBytes, stateBytes } = JSON.parse((await runCli(['inspect', 'tiny-dts', '--json'])).stdout);
    for (const { dtype, bytes, measurements, loadSeconds, memory, peakMemoryBytes } of report.results) {
      const weights = weightBytes[dtype];
      const held = { weights, state: stateBytes.total };
      expect(bytes).toEqual({ ...held, weightsRead: weights, experts: { weights: 0, visited: 0 }, held });
      expect(loadSeconds).toBeGreaterThan(0);
      expect(memory.overhead).toBe(memory.loaded - memory.before - weights - 2 * stateBytes.total);
      expect(memory.peakWhileLoading).toBeGreaterThanOrEqual(memory.loaded);
      expect(peakMemoryBytes).toBeGreaterThanOrEqual(memory.peakWhileLoading);
      expect(measurements.map(({ work, batchSize, tokens }) => [work, batchSize, tokens])).toEqual([
        ['prefill', 1, 6],
        ['prefill', 1, 3],
        ['decode', 1, 3],
        ['decode', 2, 3],
        ['generate', 1, 3],
        ['generate', 2, 3],
      ]);
      for (const { work, batchSize, tokensPerSecond, bytesPerSecond, bandwidthShare, ...rest } of measurements) {
        expect(rest.arithmeticShare).toBeGreaterThan(0);
        const { median, min, max } = tokensPerSecond;
        expect(min).toBeGreaterThan(0);
        expect(min <= median && median <= max).toBe(true);
        if (work === 'prefill') {
          expect([bytesPerSecond, bandwidthShare]).toEqual([null, null]);
          continue;
        }
        const expected = (median / batchSize) * (weights + 2 * batchSize * stateBytes.total);
        expect(bytesPerSecond).toBeCloseTo(expected, -3);
        expect(bandwidthShare).toBeCloseTo(expected / readBytesPerSecond, 6);
      }
    }
  });

  test('a hybrid, whose sequences also have blocks', async () => {
    const folder = fileURLToPath(new URL('../goldens/bamba', import.meta.url));
    const sizes = ['--prompt-tokens', '40', '--batch-sizes', '2', '--generate-tokens', '30', '--repetitions', '1'];
    const { code, stdout, stderr } = await runCli(['bench', '--model', folder, ...sizes, '--json']);
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    const report: BenchReport = JSON.parse(stdout);
    expect(report.results[0].measurements.map(({ work }) => work)).toEqual(['prefill', 'decode', 'generate']);
  });

  test.each([
    [['--shape', 'mamba2-130m', '--model', 'tiny-dts'], 2, /exclude each other/],
    [['--shape', 'mamba3'], 2, /expected one of: mamba2-130m/],
    [['--prompt-tokens', '512,x'], 2, /--prompt-tokens holds 'x'/],
    [['--batch-sizes', '0'], 2, /--batch-sizes holds '0'; expected an integer at least 1/],
    [['--batch-sizes', '1,,2'], 2, /--batch-sizes is '1,,2'/],
    [['--repetitions', '1.5'], 2, /--repetitions holds '1\.5'/],
    [['--tensor-parallel-size', '0'], 2, /--tensor-parallel-size is 0/],
    [['--dtype', 'float32,int3'], 2, /--dtype is 'int3'/],
  ])('%j is refused', async (args, code, message) => {
    const outcome = await runCli(['bench', ...args]);
    expect(outcome.stderr).toMatch(message);
    expect(outcome).toMatchObject({ code, stdout: '' });
  });
});
