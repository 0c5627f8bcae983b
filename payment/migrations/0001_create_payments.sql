-- +goose Up
CREATE TABLE payments (
    payment_id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    order_id BIGINT NOT NULL,
    user_id BIGINT NOT NULL,
    is_payed BOOLEAN,
    payment_status VARCHAR(16),
    state VARCHAR(24) NOT NULL,
    amount BIGINT NOT NULL,
    capture_reserved BIGINT NOT NULL,
    captured_amount BIGINT NOT NULL,
    refund_reserved BIGINT NOT NULL,
    refunded_amount BIGINT NOT NULL,
    currency CHAR(3) NOT NULL,
    provider VARCHAR(32) NOT NULL,
    provider_reference VARCHAR(128) NOT NULL,
    failure_code VARCHAR(64) NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
) DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;
CREATE INDEX payments_order_id ON payments (order_id);
CREATE INDEX payments_user_id ON payments (user_id);

CREATE TABLE payment_operations (
    operation_id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    payment_id BIGINT NOT NULL,
    kind VARCHAR(16) NOT NULL,
    request_key VARCHAR(255) NOT NULL,
    provider_key VARCHAR(64) NOT NULL,
    amount BIGINT NOT NULL,
    reason VARCHAR(255) NOT NULL,
    token VARCHAR(255) NOT NULL,
    state VARCHAR(16) NOT NULL,
    failure_code VARCHAR(64) NOT NULL,
    status INT NOT NULL,
    answer MEDIUMTEXT NOT NULL,
    attempts INT NOT NULL,
    busy_until BIGINT NOT NULL,
    retry_at BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
) DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;
CREATE UNIQUE INDEX payment_operations_request_key ON payment_operations (request_key);
CREATE UNIQUE INDEX payment_operations_provider_key ON payment_operations (provider_key);
CREATE INDEX payment_operations_payment_id ON payment_operations (payment_id);
CREATE INDEX payment_operations_due ON payment_operations (state, retry_at);

CREATE TABLE ledger_postings (
    posting_id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    entry_id BIGINT NOT NULL,
    account VARCHAR(64) NOT NULL,
    amount BIGINT NOT NULL,
    currency CHAR(3) NOT NULL,
    order_id BIGINT NOT NULL,
    payment_id BIGINT NOT NULL,
    posted_at BIGINT NOT NULL
) DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;
CREATE UNIQUE INDEX ledger_postings_entry ON ledger_postings (entry_id, account);
CREATE INDEX ledger_postings_order_id ON ledger_postings (order_id);

CREATE TABLE provider_events (
    provider VARCHAR(32) NOT NULL,
    event_id VARCHAR(128) NOT NULL,
    kind VARCHAR(16) NOT NULL,
    provider_key VARCHAR(64) NOT NULL,
    provider_reference VARCHAR(128) NOT NULL,
    amount BIGINT NOT NULL,
    currency CHAR(3) NOT NULL,
    failure_code VARCHAR(64) NOT NULL,
    declined BOOLEAN NOT NULL,
    body MEDIUMTEXT NOT NULL,
    state VARCHAR(16) NOT NULL,
    attempts INT NOT NULL,
    retry_at BIGINT NOT NULL,
    received_at BIGINT NOT NULL,
    PRIMARY KEY (provider, event_id)
) DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;
CREATE INDEX provider_events_due ON provider_events (state, retry_at);
