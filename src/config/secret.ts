import { readFile } from 'node:fs/promises';
import { AppError } from '../errors.ts';
import type { Redactor } from '../redactor.ts';

/** A key that is read when it is first needed, since a key command may ask the person for a fingerprint. */
export interface Secret {
  /** Where the value comes from, fit to be shown: `LAMBDA_API_KEY_FILE`. Never the value. */
  readonly origin: string;
  read(): Promise<string>;
}

const commandTimeoutMs = 30_000;

export function secretFromValue(origin: string, value: string, redactor: Redactor): Secret {
  const trimmed = value.trim();
  redactor.add(trimmed);
  return { origin, read: async () => trimmed };
}

export function secretFromFile(origin: string, path: string, redactor: Redactor): Secret {
  return readOnce(origin, redactor, async () => {
    try {
      return await readFile(path, 'utf8');
    } catch (cause) {
      throw new AppError('config_invalid', `${origin} names a file that cannot be read: ${path}.`, { cause });
    }
  });
}

/** The command is split into words and run without a shell. Its output is never quoted, not even when it fails. */
export function secretFromCommand(origin: string, command: string, redactor: Redactor): Secret {
  // A program may leave the folder it was started in before it needs the key.
  const cwd = process.cwd();
  return readOnce(origin, redactor, async () => {
    // Loaded here, since few need it and every start would pay for it.
    const { execa, parseCommandString } = await import('execa');
    const [file, ...args] = parseCommandString(command);
    try {
      const { stdout } = await execa(file ?? '', args, { timeout: commandTimeoutMs, stdin: 'ignore', cwd });
      return stdout;
    } catch {
      throw new AppError('config_invalid', `The command in ${origin} (${file}) failed.`, {
        next: 'Run it in a terminal and see what it says; it must print the key and nothing else.',
      });
    }
  });
}

function readOnce(origin: string, redactor: Redactor, load: () => Promise<string>): Secret {
  let pending: Promise<string> | undefined;
  return {
    origin,
    read() {
      pending ??= load().then((text) => {
        const value = text.trim();
        if (value === '') throw new AppError('config_invalid', `${origin} gave an empty key.`);
        redactor.add(value);
        return value;
      });
      // A failed read is tried again next time: the person may have unlocked the vault by then.
      pending.catch(() => {
        pending = undefined;
      });
      return pending;
    },
  };
}
