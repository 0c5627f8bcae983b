-- +goose Up
CREATE INDEX payments_amount ON payments (amount, payment_id);
CREATE INDEX payments_state ON payments (state, payment_id);
