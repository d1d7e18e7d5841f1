import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { assertRange, type ByteSource } from '../../../src/checkpoint/files/byte-source.ts';
import type { ModelFiles } from '../../../src/checkpoint/files/model-files.ts';
import { RemoteFiles } from '../../../src/checkpoint/files/remote-files.ts';
import { RankFileServer } from '../../../src/engine/ranks/rank-files.ts';
import { DownloadError } from '../../../src/errors.ts';
import { runs } from '../../runs.ts';

const SIZE = 1000;
const byteAt = (file: string, offset: number) => (file.charCodeAt(0) * 31 + offset * 7) % 256;

/** Files whose reads are written down. */
class RecordedFiles implements ModelFiles {
  readonly location = 'http://host/';
  readonly reads: { file: string; offset: number }[] = [];

  nameOf(file: string): string {
    return this.location + file;
  }

  async readText(file: string): Promise<string | undefined> {
    return file === 'config.json' ? '{}' : undefined;
  }

  async open(file: string): Promise<ByteSource | undefined> {
    if (file === 'none') return undefined;
    const source = { name: file, size: SIZE };
    const read = async (offset: number, length: number) => {
      assertRange(source, offset, length);
      if (file === 'broken') throw new DownloadError('It broke.');
      this.reads.push({ file, offset });
      return Uint8Array.from({ length }, (_, i) => byteAt(file, offset + i));
    };
    return { ...source, read, close: async () => {} };
  }

  async list(): Promise<readonly string[]> {
    return [];
  }

  async close(): Promise<void> {}
}

/** A server and its ranks, with messages that take a while. */
function connect(files: ModelFiles, ranks: number, delay: () => Promise<void> = async () => {}) {
  const answers = new Map<string, (answer: never) => void>();
  const server = new RankFileServer(files, ranks, async ({ rank, id }, answer) => {
    await delay();
    answers.get(`${rank} ${id}`)?.(answer as never);
  });
  const failures: unknown[] = [];
  const clients = Array.from({ length: ranks }, (_, rank) => {
    let asked = 0;
    return new RemoteFiles(files.location, (question) => {
      const id = asked++;
      server.ask({ rank, id }, question).catch((error: unknown) => failures.push(error));
      return new Promise((resolve) => answers.set(`${rank} ${id}`, resolve));
    });
  });
  return { server, clients, failures };
}

describe('files that one thread reads for all ranks', () => {
  test('are read once through, forwards, whatever rows each rank wants, and each gets its own', async () => {
    const read = fc.record({
      file: fc.constantFrom('a', 'b', 'c'),
      offset: fc.nat(SIZE - 1),
      length: fc.nat(100),
    });
    const plans = fc.array(fc.array(read, { maxLength: 12 }), { minLength: 1, maxLength: 4 });
    await fc.assert(
      fc.asyncProperty(plans, fc.scheduler(), async (unordered, scheduler) => {
        const files = new RecordedFiles();
        const delay = () => scheduler.schedule(Promise.resolve());
        const { server, clients, failures } = connect(files, unordered.length, delay);
        const loading = clients.map(async (client, rank) => {
          const plan = forwards(unordered[rank]);
          for (const { file, offset, length } of plan) {
            const bytes = await (await client.open(file))?.read(offset, length);
            expect(bytes).toEqual(Uint8Array.from({ length }, (_, i) => byteAt(file, offset + i)));
          }
          await server.finish(rank);
        });
        await scheduler.waitFor(Promise.all(loading));
        expect(failures).toEqual([]);
        const places = files.reads.map(({ file, offset }) => `${file}${String(offset).padStart(4, '0')}`);
        expect(places).toEqual(places.toSorted());
      }),
      { numRuns: runs(100) },
    );
  });

  test('are answered about at once where it is no matter of bytes', async () => {
    const [client] = connect(new RecordedFiles(), 2).clients;
    expect(await client.readText('config.json')).toBe('{}');
    expect(await client.readText('tokenizer.json')).toBeUndefined();
    expect((await client.open('a'))?.size).toBe(SIZE);
    expect(await client.open('none')).toBeUndefined();
    expect(client.nameOf('a')).toBe('http://host/a');
  });

  test('say what reading fails with', async () => {
    const { clients, failures } = connect(new RecordedFiles(), 1);
    const source = await clients[0].open('broken');
    void source?.read(0, 1);
    await expect.poll(() => failures).toEqual([new DownloadError('It broke.')]);
  });
});

/** The reads as a rank makes them: file after file, each forwards, none over another. */
function forwards(reads: readonly { file: string; offset: number; length: number }[]) {
  const sorted = reads.toSorted((a, b) => a.file.localeCompare(b.file) || a.offset - b.offset);
  let end = { file: '', offset: 0 };
  return sorted.map(({ file, offset, length }) => {
    const begin = file === end.file ? Math.max(offset, end.offset) : offset;
    const read = { file, offset: begin, length: Math.min(length, SIZE - begin) };
    end = { file, offset: begin + read.length };
    return read;
  });
}
