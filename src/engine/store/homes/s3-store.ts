import { MissingPackageError } from '../../../errors.ts';
import { KEY_PREFIX, MAX_NAMES, type StateStore } from './state-store.ts';

type S3 = typeof import('@aws-sdk/client-s3');

/** Time for a connection, and for the next byte of an answer. */
const CONNECT_MILLISECONDS = 5000;
const ANSWER_MILLISECONDS = 15_000;
/** Requests at the same time for one call. */
const CONCURRENCY = 16;

/** Where a bucket is. */
interface Bucket {
  readonly bucket: string;
  /** Prefix of all keys. */
  readonly prefix: string;
}

/**
 * States as objects of an S3-compatible store. Objects are not removed: a rule of the bucket should do that, by their age.
 */
export class S3StateStore implements StateStore {
  readonly #s3: S3;
  readonly #client: InstanceType<S3['S3Client']>;
  readonly #bucket: Bucket;

  private constructor(s3: S3, client: InstanceType<S3['S3Client']>, bucket: Bucket) {
    this.#s3 = s3;
    this.#client = client;
    this.#bucket = bucket;
  }

  /**
   * Rejects with MissingPackageError where `@aws-sdk/client-s3` is not installed.
   * @param url `s3://bucket/prefix`, with the parameters `endpoint` of a store other than Amazon's, and `region`. Keys
   *   come from the environment, as for all programs of AWS, or as `access-key:secret-key@` before the bucket.
   */
  static async open(url: URL): Promise<S3StateStore> {
    let s3: S3;
    try {
      s3 = await import('@aws-sdk/client-s3');
    } catch (cause) {
      const problem = "A state store in S3 needs the package '@aws-sdk/client-s3'.";
      throw new MissingPackageError(problem, 'npm install @aws-sdk/client-s3', { cause });
    }
    const endpoint = url.searchParams.get('endpoint') ?? undefined;
    const region = url.searchParams.get('region') ?? (endpoint === undefined ? undefined : 'us-east-1');
    const client = new s3.S3Client({
      ...(endpoint !== undefined && { endpoint, forcePathStyle: true }),
      ...(region !== undefined && { region }),
      ...(url.username !== '' && {
        credentials: {
          accessKeyId: decodeURIComponent(url.username),
          secretAccessKey: decodeURIComponent(url.password),
        },
      }),
      maxAttempts: 2,
      // Values have a checksum of their own, and not every store knows the SDK's.
      requestChecksumCalculation: 'WHEN_REQUIRED',
      responseChecksumValidation: 'WHEN_REQUIRED',
      requestHandler: { connectionTimeout: CONNECT_MILLISECONDS, requestTimeout: ANSWER_MILLISECONDS },
    });
    const folder = url.pathname.replace(/^\/+|\/+$/g, '');
    return new S3StateStore(s3, client, { bucket: url.hostname, prefix: folder === '' ? KEY_PREFIX : `${folder}/` });
  }

  list(places: readonly string[], signal?: AbortSignal): Promise<readonly (readonly string[])[]> {
    return inTurns(places, async (place) => {
      const Prefix = `${this.#bucket.prefix}${place}/`;
      const command = new this.#s3.ListObjectsV2Command({ Bucket: this.#bucket.bucket, Prefix, MaxKeys: MAX_NAMES });
      const { Contents = [] } = await this.#client.send(command, until(signal));
      return Contents.flatMap(({ Key }) => (Key === undefined ? [] : [Key.slice(Prefix.length)]));
    });
  }

  get(keys: readonly string[], signal?: AbortSignal): Promise<readonly (Uint8Array | undefined)[]> {
    return inTurns(keys, (key) =>
      this.#orMissing(async () => {
        const command = new this.#s3.GetObjectCommand(this.#object(key));
        const { Body } = await this.#client.send(command, until(signal));
        return Body?.transformToByteArray();
      }),
    );
  }

  async put(key: string, value: Uint8Array<ArrayBuffer>, signal?: AbortSignal): Promise<void> {
    const type = { ContentType: 'application/octet-stream' };
    const command = new this.#s3.PutObjectCommand({ ...this.#object(key), ...type, Body: value });
    await this.#client.send(command, until(signal));
  }

  /** Objects have the time at which they were written, and none at which they were used. */
  touch(keys: readonly string[], signal?: AbortSignal): Promise<readonly boolean[]> {
    return inTurns(keys, async (key) => {
      const found = await this.#orMissing(() =>
        this.#client.send(new this.#s3.HeadObjectCommand(this.#object(key)), until(signal)),
      );
      return found !== undefined;
    });
  }

  async close(): Promise<void> {
    this.#client.destroy();
  }

  #object(key: string) {
    return { Bucket: this.#bucket.bucket, Key: this.#bucket.prefix + key };
  }

  async #orMissing<T>(ask: () => Promise<T>): Promise<T | undefined> {
    try {
      return await ask();
    } catch (error) {
      if (error instanceof this.#s3.S3ServiceException && error.$metadata.httpStatusCode === 404) return undefined;
      throw error;
    }
  }
}

function until(signal: AbortSignal | undefined): { readonly abortSignal?: AbortSignal } {
  return signal ? { abortSignal: signal } : {};
}

/** The results for all items, some at the same time. */
async function inTurns<T, R>(items: readonly T[], ask: (item: T) => Promise<R>): Promise<R[]> {
  const results: R[] = [];
  for (let begin = 0; begin < items.length; begin += CONCURRENCY) {
    results.push(...(await Promise.all(items.slice(begin, begin + CONCURRENCY).map(ask))));
  }
  return results;
}
