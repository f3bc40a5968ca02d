import { writeSync } from 'node:fs';
import { type Logger, pino } from 'pino';
import type { Redactor } from './redactor.ts';

export type Log = Logger;

export const logLevels = ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'] as const;
export type LogLevel = (typeof logLevels)[number];

/** JSON lines, on stderr unless told otherwise: stdout belongs to the MCP protocol. */
export function createLog(level: LogLevel, redactor: Redactor, write: (line: string) => void = writeToStderr): Log {
  const destination = {
    write(line: string) {
      try {
        write(redactor.scrub(line));
      } catch {
        // A client that closed our stderr, or a full disk, must not bring the server down.
      }
    },
  };
  const options = {
    level,
    base: { pid: process.pid },
    timestamp: pino.stdTimeFunctions.isoTime,
    serializers: { error: pino.stdSerializers.err },
  };
  return pino(options, destination);
}

/** At once, so that a crash loses no line. */
function writeToStderr(line: string): void {
  writeSync(2, line);
}
