-- +goose Up
-- One row for every checked-out order: the step to take next, or 'done'. next_at is NULL when there is
-- nothing to do. goal is '' on the way forward and the status to end in on the way back.
CREATE TABLE sagas (
    order_id BIGINT NOT NULL PRIMARY KEY,
    step VARCHAR(24) NOT NULL,
    attempts BIGINT NOT NULL,
    refusals BIGINT NOT NULL,
    next_at BIGINT,
    lease_owner VARCHAR(32) NOT NULL,
    lease_until BIGINT NOT NULL,
    deadline BIGINT NOT NULL,
    goal VARCHAR(16) NOT NULL,
    reason VARCHAR(255) NOT NULL,
    actor VARCHAR(64) NOT NULL,
    problem MEDIUMTEXT NOT NULL,
    payment_provider VARCHAR(32) NOT NULL,
    payment_token VARCHAR(255) NOT NULL,
    checkout_request VARCHAR(640) NOT NULL,
    trace_parent VARCHAR(64) NOT NULL,
    FOREIGN KEY (order_id) REFERENCES orders (order_id)
) DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;
CREATE INDEX sagas_next_at ON sagas (next_at);
