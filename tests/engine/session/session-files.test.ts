import { copyFile, cp } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, onTestFinished, test } from 'vitest';
import { memorySource } from '../../../src/checkpoint/files/byte-source.ts';
import { SafetensorsFile } from '../../../src/checkpoint/safetensors/safetensors.ts';
import { type TensorToWrite, writeSafetensors } from '../../../src/checkpoint/safetensors/safetensors-writer.ts';
import { LLM } from '../../../src/engine/llm.ts';
import type { LoadOptions } from '../../../src/engine/load/load-options.ts';
import type { Session } from '../../../src/engine/session/session.ts';
import { readSession, writeSession } from '../../../src/engine/session/session-file.ts';
import { ModelChangedError, ModelMismatchError, SessionFileError } from '../../../src/errors.ts';
import { makeFolder } from '../../checkpoint/folders.ts';
import { StaticServer } from '../../static-server.ts';
import { changedGolden, GOLDEN } from '../golden-folder.ts';

const GREEDY = { temperature: 0, maxTokens: 5, ignoreEos: true };
const IDS = [5, 6, 7, 8, 9];

async function load(source = GOLDEN, options: LoadOptions = {}): Promise<LLM> {
  const llm = await LLM.load(source, options);
  onTestFinished(() => llm.dispose());
  return llm;
}

async function savedFile(llm: LLM): Promise<Uint8Array<ArrayBuffer>> {
  const session = llm.createSession();
  await session.append(IDS);
  return session.save();
}

async function generated(session: Session, prompt?: number[]): Promise<number[]> {
  const tokenIds = [];
  for await (const { tokenId } of session.generate(prompt, GREEDY)) tokenIds.push(tokenId);
  return tokenIds;
}

/** A session's file with other values, and a checksum that fits them: as somebody could write it on purpose. */
async function forged(llm: LLM, file: Uint8Array, change: (values: Float32Array, logits: Float32Array) => void) {
  const contents = await readSession(file, llm.config.vocabSize);
  const { length, values, logits = new Float32Array() } = contents.state ?? { length: 0, values: new Float32Array() };
  change(values, logits);
  return writeSession({ ...contents, state: { length, values, logits } });
}

describe('a session file that was changed', () => {
  test.each([
    ['a bit of the state', 'state', (bits: Uint32Array) => (bits[3] ^= 0x00000001)],
    ['an exponent of the state', 'state', (bits: Uint32Array) => (bits[3] ^= 0x40000000)],
    ['a sign in the state', 'state', (bits: Uint32Array) => (bits[3] ^= 0x80000000)],
    ['a logit', 'logits', (bits: Uint32Array) => (bits[0] ^= 0x00400000)],
    ['two logits', 'logits', (bits: Uint32Array) => ([bits[0], bits[1]] = [bits[1], bits[0]])],
    ['a token', 'token_ids', (bits: Uint32Array) => (bits[1] = bits[0])],
  ])('in %s is refused', async (_, name, change) => {
    const llm = await load();
    const file = await savedFile(llm);
    const headerBytes = Number(new DataView(file.buffer).getBigUint64(0, true));
    const header = JSON.parse(new TextDecoder().decode(file.subarray(8, 8 + headerBytes)));
    const [begin, end] = header[name].data_offsets;
    const bits = new Uint32Array(file.slice(8 + headerBytes + begin, 8 + headerBytes + end).buffer);
    change(bits);
    file.set(new Uint8Array(bits.buffer), 8 + headerBytes + begin);
    await expect(llm.loadSession(file)).rejects.toThrow(/checksum/);
    await expect(llm.loadSession(file)).rejects.toThrow(SessionFileError);
  });

  test.each([
    ['NaN in the state', (values: Float32Array) => values.fill(Number.NaN, 7, 8), /'state' has NaN at 7/],
    ['an infinite state', (values: Float32Array) => values.fill(-Infinity), /'state' has -Infinity at 0/],
    ['NaN in the logits', (_: Float32Array, logits: Float32Array) => logits.fill(Number.NaN), /'logits' has NaN at 0/],
  ])('to %s is refused though its checksum fits', async (_, change, message) => {
    const llm = await load();
    const file = await forged(llm, await savedFile(llm), change);
    await expect(llm.loadSession(file)).rejects.toThrow(message);
    await expect(llm.loadSession(file)).rejects.toThrow(SessionFileError);
  });

  test('to a state of another length is refused', async () => {
    const llm = await load();
    const contents = await readSession(await savedFile(llm), llm.config.vocabSize);
    const file = writeSession({ ...contents, state: { length: 5, values: new Float32Array(3) } });
    await expect(llm.loadSession(file)).rejects.toThrow(SessionFileError);
  });
});

describe('what a session file says', () => {
  test.each([[true], [false]])('reaches no other request (prefix cache: %s)', async (enablePrefixCaching) => {
    const llm = await load(GOLDEN, { enablePrefixCaching });
    const file = await forged(llm, await savedFile(llm), (values, logits) => {
      values.forEach((_, i) => {
        values[i] = Math.sin(i);
      });
      logits.fill(0);
      logits[77] = 50;
    });
    const fresh = await load(GOLDEN, { enablePrefixCaching });
    const [alone, longer] = await Promise.all(
      [IDS, [...IDS, 77, 3]].map(async (ids) => (await fresh.complete(ids, GREEDY)).tokenIds),
    );
    const session = await llm.loadSession(file);
    const fork = session.fork();
    // It believes what it says itself, and what follows from that stays with it.
    expect((await generated(session))[0]).toBe(77);
    await fork.append([77, 3]);
    const expectHonest = async () => {
      expect((await llm.complete(IDS, GREEDY)).tokenIds).toEqual(alone);
      expect((await llm.complete([...IDS, 77, 3], GREEDY)).tokenIds).toEqual(longer);
      const other = llm.createSession();
      await other.append(IDS);
      expect(await generated(other)).toEqual(alone);
    };
    await expectHonest();
    session.dispose();
    fork.dispose();
    await expectHonest();
    llm.engine.checkIntegrity();
  });

  test('reaches no other session of the same file, if only by its bits', async () => {
    const [two, one] = [await load(GOLDEN, { tensorParallelSize: 2 }), await load(GOLDEN, { device: 'reference' })];
    const file = await savedFile(two);
    const bits = async () => new Uint32Array((await one.logits([...IDS, 1])).buffer);
    const before = await bits();
    const state = async (session: Session) => (await readSession(await session.save(), one.config.vocabSize)).state;
    const own = one.createSession();
    await own.append([...IDS, 1]);
    const [foreign, other] = [await one.loadSession(file), await one.loadSession(file)];
    await foreign.append([1]);
    await other.append([1]);
    expect(await state(other)).toEqual(await state(foreign));
    const again = one.createSession();
    await again.append([...IDS, 1]);
    expect(await state(again)).toEqual(await state(own));
    expect(await bits()).toEqual(before);
  }, 120_000);

  test('counts as tokens only where it has no checksum, as files of earlier versions', async () => {
    const llm = await load();
    const file = await SafetensorsFile.open(memorySource('file', await savedFile(llm)));
    const tensors: TensorToWrite[] = [];
    for (const [name, { shape }] of file.tensors) {
      const data = await file.readFloat32(name);
      if (name !== 'token_ids') data.fill(1);
      tensors.push({ name, dtype: 'F32', shape, data });
    }
    const { checksum, ...metadata } = file.metadata;
    expect(checksum).toMatch(/^[0-9a-f]{16}$/);
    const fresh = await load();
    const session = await fresh.loadSession(writeSafetensors(tensors, metadata));
    expect(session.tokenIds).toEqual(IDS);
    expect(await generated(session, [1])).toEqual((await llm.complete([...IDS, 1], GREEDY)).tokenIds);
    expect(fresh.engine.stats().prefillTokens).toBe(IDS.length + 1);
  });
});

describe("a session's model", () => {
  const retrained = () =>
    changedGolden({
      tensors: (tensors) => {
        for (const { data } of tensors.values()) for (let i = 0; i < data.length; i++) data[i] *= 1.001;
      },
    });

  test('is the one that was loaded, though its files were replaced since', async () => {
    const folder = await makeFolder();
    await cp(GOLDEN, folder, { recursive: true });
    const llm = await load(folder);
    await copyFile(join(await retrained(), 'model.safetensors'), join(folder, 'model.safetensors'));
    const file = await savedFile(llm);
    await expect((await load(folder)).loadSession(file)).rejects.toThrow(ModelMismatchError);
    expect((await (await load()).loadSession(file)).tokenIds).toEqual(IDS);
    expect((await llm.loadSession(file)).tokenIds).toEqual(IDS);
  });

  test.each([[true], [false]])('at a URL is not taken for what is there now (validators: %s)', async (validators) => {
    const folder = await makeFolder();
    await cp(GOLDEN, folder, { recursive: true });
    const server = await StaticServer.start({ folders: { '/model/': folder }, validators });
    onTestFinished(() => server.close());
    const url = `${server.origin}/model/`;
    const [llm, early] = [await load(url), await load(url)];
    const known = await savedFile(early);
    await copyFile(join(await retrained(), 'model.safetensors'), join(folder, 'model.safetensors'));
    // Where the server would not tell that a file was replaced, the model is identified when it is loaded.
    if (validators) await expect(savedFile(llm)).rejects.toThrow(ModelChangedError);
    else expect(await savedFile(llm)).toEqual(known);
    expect(await savedFile(early)).toEqual(known);
  });
});
