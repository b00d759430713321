;; Counts float32 values by their top 16 bits, four values at a time. histogram-kernel.ts holds the binary of this text.
;;
;; Memory, in bytes:
;;        0  extremes: four lanes each of least value, greatest value, greatest magnitude, least magnitude key
;;       64  chunk: up to 32768 values; a number that is not a multiple of four is filled up by the caller
;;   131136  sums: one u32 a bin, made by `compact`
;;   393280  counters: four u32 a bin, one for each of four neighboring values, because values in a row are often equal
;;           (the zeros after a Relu) and a counter that was just written is slow to read
;;
;; NaN compares false, so `pmin` and `pmax` leave it out. A magnitude is the bits without the sign, shown by a shift left;
;; its key is one less, so that zeros wrap to the top and are never the least.
(module
  (memory (export "memory") 23)

  ;; Widens the extremes by the first `count` values of the chunk.
  (func (export "extremes") (param $count i32)
    (local $at i32) (local $end i32) (local $v v128) (local $low v128) (local $high v128) (local $big v128) (local $small v128)
    (local.set $low (v128.load (i32.const 0)))
    (local.set $high (v128.load (i32.const 16)))
    (local.set $big (v128.load (i32.const 32)))
    (local.set $small (v128.load (i32.const 48)))
    (local.set $end (i32.shl (local.get $count) (i32.const 2)))
    (block $done
      (loop $next
        (br_if $done (i32.ge_u (local.get $at) (local.get $end)))
        (local.set $v (v128.load offset=64 (local.get $at)))
        (local.set $low (f32x4.pmin (local.get $low) (local.get $v)))
        (local.set $high (f32x4.pmax (local.get $high) (local.get $v)))
        (local.set $v (i32x4.shl (local.get $v) (i32.const 1)))
        (local.set $big (i32x4.max_u (local.get $big) (local.get $v)))
        (local.set $small (i32x4.min_u (local.get $small) (i32x4.sub (local.get $v) (v128.const i32x4 1 1 1 1))))
        (local.set $at (i32.add (local.get $at) (i32.const 16)))
        (br $next)))
    (v128.store (i32.const 0) (local.get $low))
    (v128.store (i32.const 16) (local.get $high))
    (v128.store (i32.const 32) (local.get $big))
    (v128.store (i32.const 48) (local.get $small)))

  ;; Does the same, and counts the values in their bins.
  (func (export "count") (param $count i32)
    (local $at i32) (local $end i32) (local $bin i32) (local $v v128) (local $bins v128)
    (local $low v128) (local $high v128) (local $big v128) (local $small v128)
    (local.set $low (v128.load (i32.const 0)))
    (local.set $high (v128.load (i32.const 16)))
    (local.set $big (v128.load (i32.const 32)))
    (local.set $small (v128.load (i32.const 48)))
    (local.set $end (i32.shl (local.get $count) (i32.const 2)))
    (block $done
      (loop $next
        (br_if $done (i32.ge_u (local.get $at) (local.get $end)))
        (local.set $v (v128.load offset=64 (local.get $at)))
        (local.set $low (f32x4.pmin (local.get $low) (local.get $v)))
        (local.set $high (f32x4.pmax (local.get $high) (local.get $v)))
        ;; The bin (bits >>> 16) times its 16 bytes, in one shift and a mask.
        (local.set $bins
          (v128.and (i32x4.shr_u (local.get $v) (i32.const 12)) (v128.const i32x4 0xffff0 0xffff0 0xffff0 0xffff0)))
        (local.set $v (i32x4.shl (local.get $v) (i32.const 1)))
        (local.set $big (i32x4.max_u (local.get $big) (local.get $v)))
        (local.set $small (i32x4.min_u (local.get $small) (i32x4.sub (local.get $v) (v128.const i32x4 1 1 1 1))))
        ;; Written out four times, because calls are not inlined: as a function it takes three times as long.
        (local.set $bin (i32x4.extract_lane 0 (local.get $bins)))
        (i32.store offset=393280 (local.get $bin) (i32.add (i32.load offset=393280 (local.get $bin)) (i32.const 1)))
        (local.set $bin (i32x4.extract_lane 1 (local.get $bins)))
        (i32.store offset=393284 (local.get $bin) (i32.add (i32.load offset=393284 (local.get $bin)) (i32.const 1)))
        (local.set $bin (i32x4.extract_lane 2 (local.get $bins)))
        (i32.store offset=393288 (local.get $bin) (i32.add (i32.load offset=393288 (local.get $bin)) (i32.const 1)))
        (local.set $bin (i32x4.extract_lane 3 (local.get $bins)))
        (i32.store offset=393292 (local.get $bin) (i32.add (i32.load offset=393292 (local.get $bin)) (i32.const 1)))
        (local.set $at (i32.add (local.get $at) (i32.const 16)))
        (br $next)))
    (v128.store (i32.const 0) (local.get $low))
    (v128.store (i32.const 16) (local.get $high))
    (v128.store (i32.const 32) (local.get $big))
    (v128.store (i32.const 48) (local.get $small)))

  ;; Adds up the four counters of the bins `from` to `to`, multiples of four, into their sums, and clears the counters.
  (func (export "compact") (param $from i32) (param $to i32)
    (local $at i32) (local $a v128) (local $b v128) (local $c v128) (local $d v128)
    (block $done
      (loop $next
        (br_if $done (i32.ge_u (local.get $from) (local.get $to)))
        (local.set $at (i32.shl (local.get $from) (i32.const 4)))
        (local.set $a (v128.load offset=393280 (local.get $at)))
        (local.set $b (v128.load offset=393296 (local.get $at)))
        (local.set $c (v128.load offset=393312 (local.get $at)))
        (local.set $d (v128.load offset=393328 (local.get $at)))
        (v128.store offset=393280 (local.get $at) (v128.const i32x4 0 0 0 0))
        (v128.store offset=393296 (local.get $at) (v128.const i32x4 0 0 0 0))
        (v128.store offset=393312 (local.get $at) (v128.const i32x4 0 0 0 0))
        (v128.store offset=393328 (local.get $at) (v128.const i32x4 0 0 0 0))
        ;; a0+a2 b0+b2 a1+a3 b1+b3, the same of c and d, then the halves of both.
        (local.set $a (i32x4.add
          (i8x16.shuffle 0 1 2 3 16 17 18 19 4 5 6 7 20 21 22 23 (local.get $a) (local.get $b))
          (i8x16.shuffle 8 9 10 11 24 25 26 27 12 13 14 15 28 29 30 31 (local.get $a) (local.get $b))))
        (local.set $c (i32x4.add
          (i8x16.shuffle 0 1 2 3 16 17 18 19 4 5 6 7 20 21 22 23 (local.get $c) (local.get $d))
          (i8x16.shuffle 8 9 10 11 24 25 26 27 12 13 14 15 28 29 30 31 (local.get $c) (local.get $d))))
        (v128.store offset=131136 (i32.shl (local.get $from) (i32.const 2)) (i32x4.add
          (i8x16.shuffle 0 1 2 3 4 5 6 7 16 17 18 19 20 21 22 23 (local.get $a) (local.get $c))
          (i8x16.shuffle 8 9 10 11 12 13 14 15 24 25 26 27 28 29 30 31 (local.get $a) (local.get $c))))
        (local.set $from (i32.add (local.get $from) (i32.const 4)))
        (br $next)))))
