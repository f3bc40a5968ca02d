import type { Server } from 'node:http';
import { Server as NetServer, type Socket } from 'node:net';

/**
 * The connections of a server, so that it can close without cutting an answer. Node's own way ends connections whose
 * answer is written but not sent yet, and waits for those that callers keep.
 */
export class Connections {
  readonly #server: Server;
  /** With how many answers are under way on each. */
  readonly #open = new Map<Socket, number>();
  #closing = false;

  constructor(server: Server) {
    this.#server = server;
    server.on('connection', (socket: Socket) => {
      this.#open.set(socket, 0);
      socket.once('close', () => this.#open.delete(socket));
    });
    server.on('request', ({ socket }, response) => {
      this.#count(socket, 1);
      // By then its last byte has left.
      response.once('close', () => this.#count(socket, -1));
    });
  }

  /** Takes no more, and ends each connection as soon as nothing is under way on it. Resolves when all are gone. */
  async close(): Promise<void> {
    this.#closing = true;
    const closed = new Promise((resolve) => NetServer.prototype.close.call(this.#server, resolve));
    for (const [socket, answers] of this.#open) if (answers === 0) socket.destroySoon();
    await closed;
  }

  cut(): void {
    for (const socket of this.#open.keys()) socket.destroy();
  }

  #count(socket: Socket, more: number): void {
    const answers = this.#open.get(socket);
    if (answers === undefined) return;
    this.#open.set(socket, answers + more);
    if (this.#closing && answers + more === 0) socket.destroySoon();
  }
}
