;; Rounds blocks of float32 weights to integers of 4 or 8 bits, sixteen output channels at a time. The elements of a block are first brought into
;; a tile at address 0, [element][16 channels], which stays in the nearest cache: a row of it is what one line of a [depth, channels] matrix has,
;; and columns of it come from rows of a [channels, depth] one.
(module
  (memory (export "memory") 1)

  ;; tile[k] = 16 adjacent floats of row k; rows are `stride` bytes apart.
  (func $fillFromColumns (param $value i32) (param $stride i32) (param $count i32)
    (local $tile i32) (local $end i32)
    (local.set $end (i32.shl (local.get $count) (i32.const 6)))
    (loop $next
      (v128.store (local.get $tile) (v128.load (local.get $value)))
      (v128.store offset=16 (local.get $tile) (v128.load offset=16 (local.get $value)))
      (v128.store offset=32 (local.get $tile) (v128.load offset=32 (local.get $value)))
      (v128.store offset=48 (local.get $tile) (v128.load offset=48 (local.get $value)))
      (local.set $value (i32.add (local.get $value) (local.get $stride)))
      (local.set $tile (i32.add (local.get $tile) (i32.const 64)))
      (br_if $next (i32.lt_u (local.get $tile) (local.get $end)))))

  ;; tile[k][c] = element k of channel c; channels are `stride` bytes apart. Four by four.
  (func $fillFromRows (param $value i32) (param $stride i32) (param $count i32)
    (local $tile i32) (local $from i32) (local $column i32) (local $k i32)
    (local $a v128) (local $b v128) (local $c v128) (local $d v128) (local $ab v128) (local $cd v128)
    (loop $channels
      (local.set $k (i32.const 0))
      (local.set $tile (local.get $column))
      (loop $next
        (local.set $from (i32.add (local.get $value) (i32.shl (local.get $k) (i32.const 2))))
        (local.set $a (v128.load (local.get $from)))
        (local.set $from (i32.add (local.get $from) (local.get $stride)))
        (local.set $b (v128.load (local.get $from)))
        (local.set $from (i32.add (local.get $from) (local.get $stride)))
        (local.set $c (v128.load (local.get $from)))
        (local.set $d (v128.load (i32.add (local.get $from) (local.get $stride))))
        (local.set $ab (i8x16.shuffle 0 1 2 3 16 17 18 19 4 5 6 7 20 21 22 23 (local.get $a) (local.get $b)))
        (local.set $cd (i8x16.shuffle 0 1 2 3 16 17 18 19 4 5 6 7 20 21 22 23 (local.get $c) (local.get $d)))
        (v128.store (local.get $tile) (i8x16.shuffle 0 1 2 3 4 5 6 7 16 17 18 19 20 21 22 23 (local.get $ab) (local.get $cd)))
        (v128.store offset=64 (local.get $tile) (i8x16.shuffle 8 9 10 11 12 13 14 15 24 25 26 27 28 29 30 31 (local.get $ab) (local.get $cd)))
        (local.set $ab (i8x16.shuffle 8 9 10 11 24 25 26 27 12 13 14 15 28 29 30 31 (local.get $a) (local.get $b)))
        (local.set $cd (i8x16.shuffle 8 9 10 11 24 25 26 27 12 13 14 15 28 29 30 31 (local.get $c) (local.get $d)))
        (v128.store offset=128 (local.get $tile) (i8x16.shuffle 0 1 2 3 4 5 6 7 16 17 18 19 20 21 22 23 (local.get $ab) (local.get $cd)))
        (v128.store offset=192 (local.get $tile) (i8x16.shuffle 8 9 10 11 12 13 14 15 24 25 26 27 28 29 30 31 (local.get $ab) (local.get $cd)))
        (local.set $tile (i32.add (local.get $tile) (i32.const 256)))
        (local.set $k (i32.add (local.get $k) (i32.const 4)))
        (br_if $next (i32.lt_u (local.get $k) (local.get $count))))
      (local.set $value (i32.add (local.get $value) (i32.shl (local.get $stride) (i32.const 2))))
      (local.set $column (i32.add (local.get $column) (i32.const 16)))
      (br_if $channels (i32.lt_u (local.get $column) (i32.const 64)))))

  ;; One block of each of `channels` channels, rounded up to a multiple of sixteen. `steps` divides the range, or the largest magnitude where
  ;; `middle` is not negative: then that is every zero point, and with `signed` the largest element takes the integer 0 whatever its sign.
  ;; Integers of a channel go to `target`, those of the next one `targetStride` bytes on; its scale to `scales` and its zero point, a byte, to
  ;; `zeros`, those of the next one `parameterStride` elements on. NaN and infinity come out in the scale.
  (func (export "blocks")
        (param $value i32) (param $stride i32) (param $byRows i32) (param $channels i32) (param $count i32) (param $bits i32)
        (param $steps f32) (param $middle i32) (param $signed i32) (param $largest i32)
        (param $target i32) (param $targetStride i32) (param $scales i32) (param $zeros i32) (param $parameterStride i32)
    (local $group i32) (local $column i32) (local $at i32) (local $end i32) (local $place i32) (local $second i32) (local $third i32) (local $fourth i32)
    (local $v v128) (local $low v128) (local $high v128) (local $magnitude v128) (local $scale v128) (local $zero v128)
    (local $base v128) (local $most v128) (local $packed v128) (local $magic v128)
    (local.set $most (i32x4.splat (local.get $largest)))
    ;; 1.5 · 2^23: what is added to it is rounded to a whole number, ties to even, and stands in the low bits.
    (local.set $magic (v128.const f32x4 0x1.8p+23 0x1.8p+23 0x1.8p+23 0x1.8p+23))
    (loop $channel
      (if (local.get $byRows)
        (then
          (call $fillFromRows
            (i32.add (local.get $value) (i32.mul (local.get $group) (local.get $stride))) (local.get $stride) (local.get $count)))
        (else
          (call $fillFromColumns
            (i32.add (local.get $value) (i32.shl (local.get $group) (i32.const 2))) (local.get $stride) (local.get $count))))
      (local.set $column (i32.const 0))
      (loop $four
        (local.set $low (v128.const f32x4 0 0 0 0))
        (local.set $high (v128.const f32x4 0 0 0 0))
        (local.set $magnitude (v128.const i32x4 0 0 0 0))
        (local.set $at (local.get $column))
        (local.set $end (i32.add (local.get $column) (i32.shl (local.get $count) (i32.const 6))))
        (loop $range
          (local.set $v (v128.load (local.get $at)))
          (local.set $low (f32x4.pmin (local.get $low) (local.get $v)))
          (local.set $high (f32x4.pmax (local.get $high) (local.get $v)))
          (local.set $magnitude (i32x4.max_s (local.get $magnitude) (f32x4.abs (local.get $v))))
          (local.set $v (v128.load offset=64 (local.get $at)))
          (local.set $low (f32x4.pmin (local.get $low) (local.get $v)))
          (local.set $high (f32x4.pmax (local.get $high) (local.get $v)))
          (local.set $magnitude (i32x4.max_s (local.get $magnitude) (f32x4.abs (local.get $v))))
          (local.set $v (v128.load offset=128 (local.get $at)))
          (local.set $low (f32x4.pmin (local.get $low) (local.get $v)))
          (local.set $high (f32x4.pmax (local.get $high) (local.get $v)))
          (local.set $magnitude (i32x4.max_s (local.get $magnitude) (f32x4.abs (local.get $v))))
          (local.set $v (v128.load offset=192 (local.get $at)))
          (local.set $low (f32x4.pmin (local.get $low) (local.get $v)))
          (local.set $high (f32x4.pmax (local.get $high) (local.get $v)))
          (local.set $magnitude (i32x4.max_s (local.get $magnitude) (f32x4.abs (local.get $v))))
          (local.set $at (i32.add (local.get $at) (i32.const 256)))
          (br_if $range (i32.lt_u (local.get $at) (local.get $end))))

        ;; Magnitudes as bits order as the numbers do, infinity and then NaN above them all.
        (if (i32.lt_s (local.get $middle) (i32.const 0))
          (then
            (local.set $scale
              (f32x4.max (v128.const f32x4 0x1p-126 0x1p-126 0x1p-126 0x1p-126)
                (f32x4.div (f32x4.sub (local.get $high) (local.get $low)) (f32x4.splat (local.get $steps)))))
            (local.set $zero
              (i32x4.min_s (local.get $most)
                (i32x4.trunc_sat_f32x4_s (f32x4.nearest (f32x4.div (f32x4.neg (local.get $low)) (local.get $scale))))))
            (local.set $scale
              (v128.bitselect (v128.const i32x4 0x7fc00000 0x7fc00000 0x7fc00000 0x7fc00000) (local.get $scale)
                (i32x4.ge_s (local.get $magnitude) (v128.const i32x4 0x7f800000 0x7f800000 0x7f800000 0x7f800000)))))
          (else
            (local.set $scale
              (f32x4.max (v128.const f32x4 0x1p-126 0x1p-126 0x1p-126 0x1p-126)
                (f32x4.div (local.get $magnitude) (f32x4.splat (local.get $steps)))))
            (if (local.get $signed)
              (then
                (local.set $scale
                  (v128.bitselect (f32x4.neg (local.get $scale)) (local.get $scale)
                    (f32x4.gt (local.get $high) (f32x4.neg (local.get $low)))))))
            (local.set $zero (i32x4.splat (local.get $middle)))))

        (local.set $place (i32.mul (i32.add (local.get $group) (i32.shr_u (local.get $column) (i32.const 2))) (local.get $parameterStride)))
        (local.set $second (i32.add (local.get $place) (local.get $parameterStride)))
        (local.set $third (i32.add (local.get $second) (local.get $parameterStride)))
        (local.set $fourth (i32.add (local.get $third) (local.get $parameterStride)))
        (v128.store8_lane 0 (i32.add (local.get $zeros) (local.get $place)) (local.get $zero))
        (v128.store8_lane 4 (i32.add (local.get $zeros) (local.get $second)) (local.get $zero))
        (v128.store8_lane 8 (i32.add (local.get $zeros) (local.get $third)) (local.get $zero))
        (v128.store8_lane 12 (i32.add (local.get $zeros) (local.get $fourth)) (local.get $zero))
        (v128.store32_lane 0 (i32.add (local.get $scales) (i32.shl (local.get $place) (i32.const 2))) (local.get $scale))
        (v128.store32_lane 1 (i32.add (local.get $scales) (i32.shl (local.get $second) (i32.const 2))) (local.get $scale))
        (v128.store32_lane 2 (i32.add (local.get $scales) (i32.shl (local.get $third) (i32.const 2))) (local.get $scale))
        (v128.store32_lane 3 (i32.add (local.get $scales) (i32.shl (local.get $fourth) (i32.const 2))) (local.get $scale))

        (local.set $base (i32x4.sub (local.get $zero) (local.get $magic)))
        (local.set $at (local.get $column))
        (local.set $place
          (i32.add (local.get $target) (i32.mul (i32.add (local.get $group) (i32.shr_u (local.get $column) (i32.const 2))) (local.get $targetStride))))
        (local.set $second (i32.add (local.get $place) (local.get $targetStride)))
        (local.set $third (i32.add (local.get $second) (local.get $targetStride)))
        (local.set $fourth (i32.add (local.get $third) (local.get $targetStride)))
        (loop $word
          (if (i32.eq (local.get $bits) (i32.const 4))
            (then
              (local.set $packed
                (i32x4.min_s (local.get $most)
                  (i32x4.max_s (v128.const i32x4 0 0 0 0)
                    (i32x4.add (local.get $base) (f32x4.add (local.get $magic) (f32x4.div (v128.load offset=448 (local.get $at)) (local.get $scale)))))))
              (local.set $packed
                (v128.or (i32x4.shl (local.get $packed) (i32.const 4))
                  (i32x4.min_s (local.get $most)
                    (i32x4.max_s (v128.const i32x4 0 0 0 0)
                      (i32x4.add (local.get $base) (f32x4.add (local.get $magic) (f32x4.div (v128.load offset=384 (local.get $at)) (local.get $scale))))))))
              (local.set $packed
                (v128.or (i32x4.shl (local.get $packed) (i32.const 4))
                  (i32x4.min_s (local.get $most)
                    (i32x4.max_s (v128.const i32x4 0 0 0 0)
                      (i32x4.add (local.get $base) (f32x4.add (local.get $magic) (f32x4.div (v128.load offset=320 (local.get $at)) (local.get $scale))))))))
              (local.set $packed
                (v128.or (i32x4.shl (local.get $packed) (i32.const 4))
                  (i32x4.min_s (local.get $most)
                    (i32x4.max_s (v128.const i32x4 0 0 0 0)
                      (i32x4.add (local.get $base) (f32x4.add (local.get $magic) (f32x4.div (v128.load offset=256 (local.get $at)) (local.get $scale))))))))
              (local.set $packed
                (v128.or (i32x4.shl (local.get $packed) (i32.const 4))
                  (i32x4.min_s (local.get $most)
                    (i32x4.max_s (v128.const i32x4 0 0 0 0)
                      (i32x4.add (local.get $base) (f32x4.add (local.get $magic) (f32x4.div (v128.load offset=192 (local.get $at)) (local.get $scale))))))))
              (local.set $packed
                (v128.or (i32x4.shl (local.get $packed) (i32.const 4))
                  (i32x4.min_s (local.get $most)
                    (i32x4.max_s (v128.const i32x4 0 0 0 0)
                      (i32x4.add (local.get $base) (f32x4.add (local.get $magic) (f32x4.div (v128.load offset=128 (local.get $at)) (local.get $scale))))))))
              (local.set $packed
                (v128.or (i32x4.shl (local.get $packed) (i32.const 4))
                  (i32x4.min_s (local.get $most)
                    (i32x4.max_s (v128.const i32x4 0 0 0 0)
                      (i32x4.add (local.get $base) (f32x4.add (local.get $magic) (f32x4.div (v128.load offset=64 (local.get $at)) (local.get $scale))))))))
              (local.set $packed
                (v128.or (i32x4.shl (local.get $packed) (i32.const 4))
                  (i32x4.min_s (local.get $most)
                    (i32x4.max_s (v128.const i32x4 0 0 0 0)
                      (i32x4.add (local.get $base) (f32x4.add (local.get $magic) (f32x4.div (v128.load (local.get $at)) (local.get $scale))))))))
              (local.set $at (i32.add (local.get $at) (i32.const 512))))
            (else
              (local.set $packed
                (i32x4.min_s (local.get $most)
                  (i32x4.max_s (v128.const i32x4 0 0 0 0)
                    (i32x4.add (local.get $base) (f32x4.add (local.get $magic) (f32x4.div (v128.load offset=192 (local.get $at)) (local.get $scale)))))))
              (local.set $packed
                (v128.or (i32x4.shl (local.get $packed) (i32.const 8))
                  (i32x4.min_s (local.get $most)
                    (i32x4.max_s (v128.const i32x4 0 0 0 0)
                      (i32x4.add (local.get $base) (f32x4.add (local.get $magic) (f32x4.div (v128.load offset=128 (local.get $at)) (local.get $scale))))))))
              (local.set $packed
                (v128.or (i32x4.shl (local.get $packed) (i32.const 8))
                  (i32x4.min_s (local.get $most)
                    (i32x4.max_s (v128.const i32x4 0 0 0 0)
                      (i32x4.add (local.get $base) (f32x4.add (local.get $magic) (f32x4.div (v128.load offset=64 (local.get $at)) (local.get $scale))))))))
              (local.set $packed
                (v128.or (i32x4.shl (local.get $packed) (i32.const 8))
                  (i32x4.min_s (local.get $most)
                    (i32x4.max_s (v128.const i32x4 0 0 0 0)
                      (i32x4.add (local.get $base) (f32x4.add (local.get $magic) (f32x4.div (v128.load (local.get $at)) (local.get $scale))))))))
              (local.set $at (i32.add (local.get $at) (i32.const 256)))))
          (v128.store32_lane 0 (local.get $place) (local.get $packed))
          (v128.store32_lane 1 (local.get $second) (local.get $packed))
          (v128.store32_lane 2 (local.get $third) (local.get $packed))
          (v128.store32_lane 3 (local.get $fourth) (local.get $packed))
          (local.set $place (i32.add (local.get $place) (i32.const 4)))
          (local.set $second (i32.add (local.get $second) (i32.const 4)))
          (local.set $third (i32.add (local.get $third) (i32.const 4)))
          (local.set $fourth (i32.add (local.get $fourth) (i32.const 4)))
          (br_if $word (i32.lt_u (local.get $at) (local.get $end))))

        (local.set $column (i32.add (local.get $column) (i32.const 16)))
        (br_if $four (i32.lt_u (local.get $column) (i32.const 64))))

      (local.set $group (i32.add (local.get $group) (i32.const 16)))
      (br_if $channel (i32.lt_u (local.get $group) (local.get $channels))))))
