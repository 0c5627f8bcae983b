-- +goose Up
CREATE TABLE sandbox_charges (
    charge_id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    reference VARCHAR(64) NOT NULL,
    payment_id BIGINT NOT NULL,
    order_id BIGINT NOT NULL,
    amount BIGINT NOT NULL,
    captured_amount BIGINT NOT NULL,
    refunded_amount BIGINT NOT NULL,
    voided BOOLEAN NOT NULL,
    currency CHAR(3) NOT NULL,
    created_at BIGINT NOT NULL
) DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;
CREATE UNIQUE INDEX sandbox_charges_reference ON sandbox_charges (reference);
CREATE INDEX sandbox_charges_payment_id ON sandbox_charges (payment_id);

CREATE TABLE sandbox_operations (
    operation_key VARCHAR(64) NOT NULL PRIMARY KEY,
    kind VARCHAR(16) NOT NULL,
    outcome VARCHAR(16) NOT NULL,
    failure_code VARCHAR(64) NOT NULL,
    reference VARCHAR(64) NOT NULL,
    amount BIGINT NOT NULL,
    created_at BIGINT NOT NULL
) DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

CREATE TABLE sandbox_events (
    event_id VARCHAR(64) NOT NULL PRIMARY KEY,
    body MEDIUMTEXT NOT NULL,
    deliveries INT NOT NULL,
    deliver_at BIGINT NOT NULL
) DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;
CREATE INDEX sandbox_events_due ON sandbox_events (deliver_at);
