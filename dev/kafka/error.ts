/** A request or a record that is refused; answered as `{error, status}`, the protocol's only form of an error. */
export class KafkaError extends Error {
  readonly status: number;

  constructor(status: number, message: string) {
    super(message);
    this.name = 'KafkaError';
    this.status = status;
  }
}
