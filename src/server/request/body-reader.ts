import { Worker } from 'node:worker_threads';
import type { Context } from 'hono';
import { yieldToEventLoop } from '../../distributed/event-loop.ts';
import { JobEndedError, JobThread } from '../../distributed/job-thread.ts';
import { moduleFile } from '../../distributed/module-file.ts';
import { nodeWorkerOptions } from '../../distributed/node-worker-options.ts';
import { badRequest, HttpError } from '../wire/http-error.ts';
import { bodyBytes, UploadMemory } from './body-bytes.ts';
import { type BodyJob, type BodyResult, runBodyJob } from './body-job.ts';
import { type Body, type BodyForm, parseBody } from './json-body.ts';
import type { RequestLimits } from './limits.ts';

/** Larger bodies are parsed on a thread of their own: JSON can be made to take a hundred times its usual time. */
const LARGE_BYTES = 16_384;

/** Bytes of the bodies that wait for the thread, together, and as many of those that are being received. */
const MAX_WAITING_BYTES = 256 * 2 ** 20;

const IDLE_MILLISECONDS = 20_000;

/** Heap of the thread for bodies, in MiB: several times what a body of 4 MiB takes. */
const MAX_HEAP_MIB = 1024;

/** Time for each byte of a body: several times what the slowest bodies took on a slow machine. */
const MILLISECONDS_PER_BYTE = 0.002;

/** Reads and parses the bodies of requests. A large one does not hold up other requests. */
export class BodyReader {
  readonly #limits: RequestLimits;
  readonly #thread = new JobThread<BodyJob, BodyResult>({
    name: 'The thread for bodies',
    startWorker,
    runHere: runBodyJob,
    runHereHint: 'Bodies are parsed on the main thread, which large ones hold: see docs/bundlers.md.',
    maxWaitingWeight: MAX_WAITING_BYTES,
    idleMilliseconds: IDLE_MILLISECONDS,
  });

  readonly #uploads = new UploadMemory(MAX_WAITING_BYTES);

  constructor(limits: RequestLimits) {
    this.#limits = limits;
  }

  /**
   * A JSON body of a form. Rejects with HttpError 400, 413 or 415 that says what is wrong with it, or QueueFullError.
   */
  async read<F extends BodyForm>(c: Context, form: F): Promise<Body<F>> {
    // JSON only: a page of another origin can send text and forms, but not JSON, without asking the server first.
    if (!/^application\/json\s*(;|$)/i.test(c.req.header('content-type') ?? '')) {
      throw new HttpError(415, "Send 'Content-Type: application/json'.", { code: 'unsupported_media_type' });
    }
    const bytes = await bodyBytes(c, this.#limits.maxBodyBytes, this.#uploads);
    if (bytes.length <= LARGE_BYTES) return parseBody(form, bytes, this.#limits);
    return this.#parseAside(form, bytes, c.req.raw.signal);
  }

  async #parseAside<F extends BodyForm>(
    form: F,
    bytes: Uint8Array<ArrayBuffer>,
    signal: AbortSignal,
  ): Promise<Body<F>> {
    const { maxAnswers, maxListLength, maxTextSeconds } = this.#limits;
    const job = { form, bytes, limits: { maxAnswers, maxListLength } };
    const milliseconds = maxTextSeconds * 1000 + bytes.length * MILLISECONDS_PER_BYTE;
    let result: BodyResult;
    try {
      result = await this.#thread.run(job, { milliseconds, weight: bytes.length, signal });
    } catch (error) {
      if (!(error instanceof JobEndedError)) throw error;
      throw badRequest(`The body took too much: ${error.message}.`, undefined, 'invalid_json');
    }
    // Receiving a large body and working with it are a turn each.
    await yieldToEventLoop();
    // The result has the form that the job asked for.
    if ('body' in result) return result.body as Body<F>;
    const { status, message, param, code } = result.refusal;
    throw new HttpError(status, message, { param, code });
  }
}

function startWorker(): Worker {
  return new Worker(moduleFile('./body-worker', import.meta.url), {
    ...nodeWorkerOptions(),
    name: 'mamba2 bodies',
    resourceLimits: { maxOldGenerationSizeMb: MAX_HEAP_MIB },
  });
}
