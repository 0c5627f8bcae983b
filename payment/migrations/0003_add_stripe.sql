-- +goose Up
-- Which charge an event is about, and whose, where the provider says so.
ALTER TABLE provider_events ADD COLUMN authorization_key VARCHAR(64) NOT NULL DEFAULT '';
ALTER TABLE provider_events ADD COLUMN order_id BIGINT NOT NULL DEFAULT 0;
ALTER TABLE provider_events ADD COLUMN books VARCHAR(32) NOT NULL DEFAULT '';
CREATE INDEX payments_provider_reference ON payments (provider_reference);

-- The name of these books: one row.
CREATE TABLE payment_books (
    books_id INT NOT NULL PRIMARY KEY,
    name VARCHAR(32) NOT NULL
) DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;
