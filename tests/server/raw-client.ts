import { connect, type Socket } from 'node:net';

/** A client that sees what arrives, and decides when. */
export async function rawPost(url: string, path: string, body: object): Promise<Socket> {
  const { hostname, port } = new URL(url);
  const socket = connect({ host: hostname, port: Number(port) });
  const text = JSON.stringify(body);
  const head = [`POST ${path} HTTP/1.1`, 'Host: x', 'Content-Type: application/json', `Content-Length: ${text.length}`];
  socket.write(`${head.join('\r\n')}\r\n\r\n${text}`);
  socket.on('error', () => {});
  return socket;
}

/** Waits for something, and says what it waited for where that does not come. */
export async function until(what: string, holds: () => boolean | Promise<boolean>, seconds = 20): Promise<void> {
  const end = performance.now() + seconds * 1000;
  while (!(await holds())) {
    if (performance.now() > end) throw new Error(`waited ${seconds} s until ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

/** A number that grows, once it has not for half a second. */
export async function settled(read: () => number): Promise<number> {
  for (;;) {
    const last = read();
    await new Promise((resolve) => setTimeout(resolve, 500));
    if (last === read()) return last;
  }
}
