-- +goose Up
-- When to look whether an order stands behind the charge; 0 for never again.
ALTER TABLE payments ADD COLUMN look_at BIGINT NOT NULL DEFAULT 0;
CREATE INDEX payments_look_at ON payments (look_at);
