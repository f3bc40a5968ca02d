import type { Readable } from 'node:stream';

/** Hands over what arrives as it arrives. Where `take` returns a promise, nothing more is read until it is kept. */
export function eachChunk(body: Readable, take: (bytes: Buffer) => Promise<void> | undefined): Promise<void> {
  return new Promise((resolve, reject) => {
    const fail = (error: unknown) => {
      reject(error);
      body.destroy();
    };
    body.on('data', (bytes: Buffer) => {
      try {
        const wait = take(bytes);
        if (!wait) return;
        body.pause();
        wait.then(() => body.resume(), fail);
      } catch (error) {
        fail(error);
      }
    });
    body.on('end', resolve);
    body.on('error', reject);
    body.on('close', () => reject(new Error('The connection was closed.')));
  });
}

/** The whole body, at most `limitBytes` of it. `heard` is told after every part, and whether that was too much. */
export async function readAll(body: Readable, limitBytes: number, heard?: (over: boolean) => void): Promise<Buffer> {
  const parts: Buffer[] = [];
  let length = 0;
  await eachChunk(body, (bytes) => {
    length += bytes.length;
    const over = length > limitBytes;
    heard?.(over);
    if (over) throw new Error(`The body has more than ${limitBytes} bytes.`);
    parts.push(bytes);
    return undefined;
  });
  const [first, ...more] = parts;
  return first && more.length === 0 ? first : Buffer.concat(parts);
}
