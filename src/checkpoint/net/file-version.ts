/** Headers that tell one content of a URL from the next. Servers of other origins may hide some of them. */
export interface FileVersion {
  /** Bytes. */
  readonly size?: number | undefined;
  readonly etag?: string | undefined;
  readonly lastModified?: string | undefined;
}

/** The version in an answer with the whole file, a range of it, or its headers alone. */
export function versionOf(response: Response): FileVersion {
  const { headers } = response;
  return {
    size: sizeOf(response),
    etag: headers.get('etag') ?? undefined,
    lastModified: headers.get('last-modified') ?? undefined,
  };
}

/**
 * Whether both may be of the same content. Fields that one of them lacks are not compared: see {@link isTelling}.
 */
export function isSameVersion(a: FileVersion, b: FileVersion): boolean {
  const pairs = [
    [a.size, b.size],
    [plainEtag(a.etag), plainEtag(b.etag)],
    [a.lastModified, b.lastModified],
  ];
  return pairs.every(([one, other]) => one === undefined || other === undefined || one === other);
}

/** Whether it would show a change that leaves the size as it is. */
export function isTelling({ etag, lastModified }: FileVersion): boolean {
  return etag !== undefined || lastModified !== undefined;
}

function sizeOf({ status, headers }: Response): number | undefined {
  if (status === 206) {
    const total = /^bytes \d+-\d+\/(\d+)$/.exec(headers.get('content-range') ?? '')?.[1];
    return total === undefined ? undefined : Number(total);
  }
  const encoding = headers.get('content-encoding') ?? 'identity';
  const length = headers.get('content-length');
  return length === null || encoding !== 'identity' ? undefined : Number(length);
}

/** A tag without the mark that servers add when they compress a file on the way, which they never do with ranges. */
function plainEtag(etag: string | undefined): string | undefined {
  return etag?.replace(/^W\//, '').replace(/-gzip"$/, '"');
}
