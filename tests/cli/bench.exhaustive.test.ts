import { describe, expect, test } from 'vitest';
import type { BenchReport } from '../../src/bench/bench-report.ts';
import { spawnCli } from './run-cli.ts';

// A process of its own each: what memory they take is measured.
describe('bench of a model as large as real ones', () => {
  test('the table, of made-up weights on two ranks', async () => {
    const args = ['--prompt-tokens', '4', '--batch-sizes', '1', '--generate-tokens', '1', '--repetitions', '1'];
    const { code, stdout, stderr } = await spawnCli([
      ...['bench', '--shape', 'mamba2-130m', '--dtype', 'bfloat16', '--tensor-parallel-size', '2', ...args],
    ]);
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    expect(stdout).toMatch(/^mamba2-130m on auto with 2 threads, Node \d.*\n/);
    expect(stdout).toMatch(
      /^with 2 threads memory reads [\d.]+ GB\/s, arithmetic peaks at [\d.]+ Gop\/s in float32, [\d.]+ Gop\/s in int8$/m,
    );
    expect(stdout).toMatch(
      /^million operations: 180\.2 of products and 23\.6 of the scan per token, 77\.2 of the head per row of logits$/m,
    );
    expect(stdout).toMatch(/^bfloat16: weights 258\.\d MB, state 19\.4 MB per sequence, loaded in [\d.]+ s$/m);
    expect(stdout).toMatch(
      /^memory: [\d.]+ MB once loaded, -?[\d.]+ MB of it over weights and states; peak [\d.]+ .?B while loading, [\d.]+ .?B in all$/m,
    );
    expect(stdout).toMatch(
      /^work +tokens\/s +min - max +memory traffic +of bandwidth +arithmetic +of peak\nprefill 4 +[\d.]+ +.*\ndecode 1 +/m,
    );
    expect(stdout).toMatch(/^generate 1 .*%$/m);
  });

  test('a model on two ranks costs less than 100 MB beyond its weights and states, while it is loaded too', async () => {
    const args = ['--prompt-tokens', '4', '--batch-sizes', '1', '--generate-tokens', '1', '--repetitions', '1'];
    const { stdout } = await spawnCli([
      ...['bench', '--shape', 'mamba2-130m', '--dtype', 'int8', '--tensor-parallel-size', '2', '--json', ...args],
    ]);
    const report: BenchReport = JSON.parse(stdout);
    const { memory, bytes } = report.results[0];
    expect(memory.overhead).toBeLessThan(100e6);
    const { weights, state } = bytes.held;
    expect(memory.peakWhileLoading - memory.before - weights - state).toBeLessThan(100e6);
    // Both ranks hold all plain norms and the only group: 256 rows of B and C a layer, and as many channels of the conv.
    const rows = 24 * 256;
    const extraWeights = rows * (768 + 4 * (768 / 128) + 4 * (4 + 1)) + 4 * 25 * 768;
    expect([weights - bytes.weights, state - bytes.state]).toEqual([extraWeights, 4 * rows * 3]);
  });
});
