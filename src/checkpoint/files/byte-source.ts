import { ArgumentError } from '../../errors.ts';
import type { FileVersion } from '../net/file-version.ts';

/** A place to read ranges of bytes from: a file, a buffer, a URL. */
export interface ByteSource {
  /** Name in error messages: a path or a URL. */
  readonly name: string;
  /** Bytes in total. */
  readonly size: number;
  /** Whether going back costs reading from the start again. Default: false. */
  readonly isSequential?: boolean;
  /** Version that the server gives of content that is fetched for every read. Absent for files on disk. */
  readonly version?: FileVersion | undefined;
  /**
   * Reads `length` bytes from `offset` on. The result starts at offset 0 of a buffer of its own, so that any typed
   * array can view it. Rejects with ArgumentError when the range is not inside the source.
   * @param scratch memory to put the result at the start of, if it is large enough. A source may ignore it.
   */
  read(offset: number, length: number, scratch?: ArrayBuffer): Promise<Uint8Array<ArrayBuffer>>;
  /** Releases the source's resources. Later reads reject; closing twice is harmless. */
  close(): Promise<void>;
}

/** Throws ArgumentError unless `length` bytes from `offset` on lie inside the source. */
export function assertRange(source: Pick<ByteSource, 'name' | 'size'>, offset: number, length: number): void {
  const valid = Number.isSafeInteger(offset) && Number.isSafeInteger(length) && offset >= 0 && length >= 0;
  if (!valid || offset + length > source.size) {
    throw new ArgumentError(`Can't read ${length} bytes at ${offset} of '${source.name}', which has ${source.size}.`);
  }
}

/** Memory for a read's result: the scratch memory if it is large enough. */
export function bytesFor(length: number, scratch: ArrayBuffer | undefined): Uint8Array<ArrayBuffer> {
  return scratch && scratch.byteLength >= length ? new Uint8Array(scratch, 0, length) : new Uint8Array(length);
}

/** A source over bytes in memory. Reads copy, so later writes to `bytes` don't show in what was read. */
export function memorySource(name: string, bytes: Uint8Array): ByteSource {
  const source = {
    name,
    size: bytes.byteLength,
    async read(offset: number, length: number, scratch?: ArrayBuffer): Promise<Uint8Array<ArrayBuffer>> {
      assertRange(source, offset, length);
      const copy = bytesFor(length, scratch);
      copy.set(bytes.subarray(offset, offset + length));
      return copy;
    },
    async close(): Promise<void> {},
  };
  return source;
}
