/** The regular files of an uncompressed tar archive as [path, bytes], first folder removed. */
export function* entries(tar) {
  let longName = null;
  for (let at = 0; at + 512 <= tar.length; ) {
    const header = tar.subarray(at, at + 512);
    if (header[0] === 0) break;
    const text = (from, length) => header.toString('utf8', from, from + length).replace(/\0.*$/s, '');
    const size = parseInt(text(124, 12).trim() || '0', 8);
    const body = tar.subarray(at + 512, at + 512 + size);
    const type = text(156, 1);
    at += 512 + Math.ceil(size / 512) * 512;
    if (type === 'x') {
      longName = /\d+ path=([^\n]+)\n/.exec(body.toString('utf8'))?.[1] ?? longName;
    } else if (type === 'L') {
      longName = body.toString('utf8').replace(/\0.*$/s, '');
    } else {
      if (type === '0' || type === '') {
        const prefix = text(257, 5) === 'ustar' ? text(345, 155) : '';
        const path = longName ?? (prefix ? `${prefix}/${text(0, 100)}` : text(0, 100));
        yield [path.replace(/^[^/]*\//, ''), body];
      }
      longName = null;
    }
  }
}
