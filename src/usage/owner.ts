import { hostname } from 'node:os';

/** `host:pid`: who wrote a row, so that the next start can tell whether its writer still lives. */
export const owner = `${hostname()}:${process.pid}`;
