import { writeSync } from 'node:fs';
import { type Logger, pino } from 'pino';
import type { Redactor } from './redactor.ts';

export type Log = Logger;

export const logLevels = ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'] as const;
export type LogLevel = (typeof logLevels)[number];

/** JSON lines on stderr: stdout belongs to the MCP protocol. Written at once, so that a crash loses no line. */
export function createLog(level: LogLevel, redactor: Redactor): Log {
  const stderr = {
    write(line: string) {
      try {
        writeSync(2, redactor.scrub(line));
      } catch {
        // A client that closed our stderr must not bring the server down.
      }
    },
  };
  const options = {
    level,
    base: { pid: process.pid },
    timestamp: pino.stdTimeFunctions.isoTime,
    serializers: { error: pino.stdSerializers.err },
  };
  return pino(options, stderr);
}
