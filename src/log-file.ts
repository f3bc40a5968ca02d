import { closeSync, fchmodSync, fstatSync, mkdirSync, openSync, renameSync, writeSync } from 'node:fs';
import { dirname } from 'node:path';

/** With the one before it, a log takes twice this at most. */
const usualMaxBytes = 5 * 1024 * 1024;

export interface LogFile {
  readonly path: string;
  /** At once, so that a crash loses no line. Throws what the disk throws. */
  write(line: string): void;
  close(): void;
}

/** A log for a process that nobody looks at. When it is full it becomes `.1`, and the `.1` before it is gone. */
export function openLogFile(path: string, maxBytes = usualMaxBytes): LogFile {
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
  let file = openForAppending(path);
  return {
    path,
    write(line) {
      // The size is read each time: for a moment another process may write too.
      if (fstatSync(file).size + Buffer.byteLength(line) > maxBytes) {
        closeSync(file);
        rotate(path);
        file = openForAppending(path);
      }
      writeSync(file, line);
    },
    close: () => closeSync(file),
  };
}

/** A descriptor that only its owner may read: it may say what is rented and where. */
export function openForAppending(path: string): number {
  const file = openSync(path, 'a', 0o600);
  fchmodSync(file, 0o600);
  return file;
}

function rotate(path: string): void {
  try {
    renameSync(path, `${path}.1`);
  } catch {
    // Somebody else did, or somebody holds it open (Windows): it grows a little longer.
  }
}
