-- +goose Up
CREATE TABLE stock_movements (
    movement_id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    product_id BIGINT NOT NULL,
    quantity BIGINT NOT NULL,
    reason VARCHAR(16) NOT NULL,
    note VARCHAR(255) NOT NULL,
    order_id BIGINT,
    balance BIGINT NOT NULL,
    actor VARCHAR(64) NOT NULL,
    created_at BIGINT NOT NULL
) DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;
CREATE INDEX stock_movements_product_id ON stock_movements (product_id, movement_id);

CREATE TABLE reservations (
    order_id BIGINT NOT NULL PRIMARY KEY,
    state VARCHAR(16) NOT NULL,
    expires_at BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
) DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;
CREATE INDEX reservations_expires_at ON reservations (state, expires_at);

CREATE TABLE reservation_items (
    order_id BIGINT NOT NULL,
    product_id BIGINT NOT NULL,
    quantity BIGINT NOT NULL,
    PRIMARY KEY (order_id, product_id),
    CONSTRAINT reservation_items_quantity CHECK (quantity > 0)
) DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;
